##! Where the bridge connects: Zeek's WebSocket server, and a cluster backend behind it where there is none.

@load base/frameworks/cluster
@load ./main
@load ./export

module PyAD;

export {
	## Whether pyad opens Zeek's WebSocket server. ZeekControl opens one by itself (``UseWebSocket``) at the very same
	## address and port, which is then shared. Turn it off where another address, another port or TLS is set up.
	const listen = T &redef;

	## Where it listens. Zeek's WebSocket API lets any client publish any event: keep it on loopback, or require
	## client certificates (``listen_tls``).
	const listen_addr = 127.0.0.1 &redef;

	## The port, ZeekControl's own by default. The environment variable ``PYAD_LISTEN_PORT`` names another one.
	const listen_port = 27759/tcp &redef;

	## Certificate, key and more for TLS; see Zeek's ``Cluster::WebSocketTLSOptions``.
	const listen_tls = Cluster::WebSocketTLSOptions() &redef;

	## With shards, the proxies listen at ``listen_port`` + 1001, + 1002, … in the order of their names (proxy-2 before
	## proxy-10). The ports right after it are ZeekControl's.
	global proxy_port: function(name: string): port;
}

# A Zeek alone has no cluster backend from 8.1 on, and without one there are no events for WebSocket clients. Broker's
# opens no port of its own for that.
@if ( ! Cluster::is_enabled() && Cluster::backend != Cluster::CLUSTER_BACKEND_BROKER )
@ifdef ( Cluster::CLUSTER_BACKEND_NONE )
@if ( Cluster::backend == Cluster::CLUSTER_BACKEND_NONE )
@load frameworks/cluster/backend/broker
@endif
@endif
@endif

function first_port(): port
	{
	local env = getenv("PYAD_LISTEN_PORT");
	return env == "" ? listen_port : count_to_port(to_count(env), tcp);
	}

function proxy_port(name: string): port
	{
	local names: vector of string;

	for ( n, node in Cluster::nodes )
		if ( node$node_type == Cluster::PROXY )
			names += n;

	sort(names, function(a: string, b: string): int
		{
		return |a| == |b| ? strcmp(a, b) : ( |a| < |b| ? -1 : +1 );
		});

	for ( i, n in names )
		if ( n == name )
			return count_to_port(port_to_count(first_port()) + 1001 + i, tcp);

	return first_port();
	}

function open(p: port)
	{
	if ( ! Cluster::listen_websocket([$listen_addr=listen_addr, $listen_port=p, $tls_options=listen_tls]) )
		Reporter::warning(fmt("PyAD: no WebSocket server at %s:%s; the bridge cannot connect there. Is the port taken?",
		                      listen_addr, p));
	}

# After ZeekControl's own, which has the default priority.
event zeek_init() &priority=-10
	{
	if ( ! listen || getenv("ZEEKCTL_DISABLE_LISTEN") != "" || getenv("ZEEKCTL_CHECK_CONFIG") != "" )
		return;

	# A server would keep a plain `zeek -r` from ending.
	if ( reading_traces() && ! replaying && getenv("PYAD_LISTEN_PORT") == "" )
		return;

	if ( ! Cluster::is_enabled() || Cluster::local_node_type() == Cluster::MANAGER )
		open(first_port());
	else if ( shard_over_proxies && Cluster::local_node_type() == Cluster::PROXY )
		open(proxy_port(Cluster::node));
	}
