"""The package in a real Zeek cluster, with both of Zeek's cluster backends: every connection reaches a bridge."""

import shutil
import time

import pytest

from tests.live.cluster import BACKENDS, NO_ZEEK, NODES, PROXIES, SCANNER, WORKERS, Cluster, capture

pytestmark = pytest.mark.skipif(shutil.which("zeek") is None, reason=NO_ZEEK)

# As if the bridge had been away too long: three rows of a worker find no room.
LOSES_THREE_ROWS = """
@if ( Cluster::node == "worker-2" )
event lose_rows()
	{
	local l = PyAD::lanes["all"];
	l$held += PyAD::max_backlog;

	for ( _, i in vector(1, 2, 3) )
		PyAD::has_room(l);

	l$held -= PyAD::max_backlog;
	}

event Pcap::file_done(path: string)
	{
	schedule 1sec { lose_rows() };
	}
@endif
"""


def captures(folder, seconds):
    """A capture per worker, and how many connections are in all of them."""
    made = [capture(folder / f"{name}.pcap", i, seconds) for i, name in enumerate(WORKERS)]
    return [path for path, _ in made], sum(n for _, n in made)


def lanes(statuses):
    """The numbers of each lane of each worker."""
    return [
        {name: int(n) for name, n in (part.split(":") for part in fact.split(",")) if name not in ("session", "alive")}
        for worker in WORKERS
        for key, fact in sorted(statuses.get(worker, {}).items())
        if key.startswith("lane.")
    ]


def told_once(notices):
    """Whether no notice is there twice."""
    keys = [(n["note"], n["msg"], n.get("uid")) for n in notices]
    return len(keys) == len(set(keys))


@pytest.mark.parametrize("backend, with_secret", [("zeromq", NODES), ("broker", ("manager",))])
def test_one_bridge_at_the_manager_judges_what_all_workers_see(tmp_path, backend, with_secret):
    paths, n = captures(tmp_path, 3)
    with Cluster(tmp_path / "cluster", backend, paths, LOSES_THREE_ROWS, with_secret) as cluster:
        cluster.start_bridge()
        cluster.until(lambda: cluster.connections().total() >= n and cluster.judged().total() >= n, 40)
        # Each connection of conn.log exactly once.
        assert cluster.judged() == cluster.connections() and cluster.connections().total() == n, cluster.errors()
        cluster.until(lambda: [x for x in cluster.notices() if x["note"] == "PyAD::Recon"], 3)
        cluster.until(lambda: [x for x in cluster.notices() if x["note"] == "PyAD::Rows_Dropped"], 5)
        notices = cluster.notices()
        losses = [x for x in notices if x["note"] == "PyAD::Rows_Dropped"]
        assert [(x["n"], x["sub"]) for x in losses] == [(3, "node=worker-2 dropped=3")]
        assert {x["src"] for x in notices if x["note"] == "PyAD::Recon"} == {SCANNER}
        assert {x["peer_descr"] for x in notices} == {"manager"} and told_once(notices)
        cluster.until(lambda: cluster.log("logger-1", "pyad.log"), 3)

        # The last acknowledgements come with the next heartbeat.
        cluster.until(lambda: all(lane["held"] == 0 for lane in lanes(cluster.statuses())), 4)
        statuses = cluster.statuses()
        assert set(statuses) == set(NODES)
        for node, facts in statuses.items():
            assert (facts["secret"] != "-") == (node in with_secret)
            assert not any(key.startswith("refused") for key in facts), facts
        of_workers = lanes(statuses)
        assert sum(lane["exported"] for lane in of_workers) == n == sum(lane["acked"] for lane in of_workers)
        assert [lane["dropped"] for lane in of_workers] == [0, 3]
        assert "refused" not in cluster.errors(), cluster.errors()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_bridge_per_proxy_and_the_hosts_of_a_dead_proxy_go_to_the_other(tmp_path, backend):
    paths, n = captures(tmp_path, 8)
    script = "redef PyAD::shard_over_proxies = T;"
    with Cluster(tmp_path / "cluster", backend, paths, script) as cluster:
        for lane in PROXIES:
            cluster.start_bridge(lane)
        cluster.until(lambda: all(cluster.judged(lane).total() > 100 for lane in PROXIES), 40)
        first, second = (cluster.hosts(lane) for lane in PROXIES)
        assert first and second and not first & second

        cluster.kill_node("proxy-2")
        time.sleep(0.5)
        before_return = cluster.judged("proxy-2").total()
        cluster.until(lambda: cluster.hosts("proxy-1") & second, 3)
        cluster.start_node("proxy-2")
        cluster.until(lambda: cluster.judged("proxy-2").total() > before_return, 15)
        assert not cluster.hosts("proxy-2") & first

        cluster.until(lambda: cluster.connections().total() >= n and len(cluster.judged()) >= n, 25)
        judged, connections = cluster.judged(), cluster.connections()
        assert set(judged) == set(connections) and connections.total() == n, cluster.errors()

        cluster.until(lambda: all(lane["held"] == 0 for lane in lanes(cluster.statuses("proxy-1"))), 4)
        of_workers = lanes(cluster.statuses("proxy-1"))
        assert len(of_workers) == len(WORKERS) * len(PROXIES)
        count = {name: sum(lane[name] for lane in of_workers) for name in of_workers[0]}
        # What was on its way when the proxy died is judged by both bridges; all is accounted for.
        assert judged.total() - n <= count["handed_over"]
        assert count["exported"] - count["handed_over"] == n == count["acked"]
        assert count["dropped"] == 0
