import re
from pathlib import Path

import pytest

from pyad.config import Config, load_config
from pyad.errors import UsageError
from pyad.incidents import IncidentRules


def from_file(tmp_path: Path, text: str, **kw) -> Config:
    file = tmp_path / "pyad.yaml"
    file.write_text(text)
    return load_config(file, kw.pop("environment", {}), **kw)


def test_defaults():
    assert load_config(None, {}) == Config()


def test_the_rules_of_incidents_have_the_same_defaults():
    site, rules = Config().incidents, IncidentRules()
    assert (site.incident_idle_s, site.max_new_per_hour) == (rules.idle_s, rules.max_new_per_hour)
    assert (site.max_incidents, site.max_originators) == (rules.max_incidents, rules.max_originators)


def test_the_example_in_the_readme_is_a_valid_configuration(tmp_path):
    readme = Path(__file__).parents[2] / "README.md"
    [example] = re.findall(r"```yaml\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    config = from_file(tmp_path, example)
    assert config.incidents.min_conns == {"recon": 20}
    assert config.verdict.allow_list[1].ports == ((10000, "tcp"),)


def test_later_layers_win(tmp_path):
    text = "incidents: {incident_idle_s: 1}\nhosts: {max_hosts: 100}\nmodel: {batch_rows: 10}\noutput: {format: json}\n"
    config = from_file(
        tmp_path,
        text,
        environment={"PYAD_INCIDENTS__INCIDENT_IDLE_S": "2", "PYAD_HOSTS__MAX_HOSTS": "200", "PYAD_DATA": "/x"},
        sets=["incidents.incident_idle_s=3"],
        options={"output.format": "tsv"},
    )
    assert config.incidents.incident_idle_s == 3
    assert config.hosts.max_hosts == 200
    assert config.model.batch_rows == 10
    assert config.output.format == "tsv"


def test_tables_are_merged_by_class(tmp_path):
    config = from_file(
        tmp_path, "verdict: {thresholds: {flood: 0.8, recon: 0.7}}", sets=["verdict.thresholds.flood=0.9"]
    )
    assert config.verdict.thresholds == {"flood": 0.9, "recon": 0.7}


def test_numbers_as_people_write_them():
    assert load_config(None, {}, ["verdict.novel_p=1e-6"]).verdict.novel_p == 1e-6


def test_allow_list(tmp_path):
    config = from_file(tmp_path, "verdict:\n  allow_list:\n  - {name: scanner, orig: 10.1.1.1, note: ours}\n")
    assert config.verdict.allow_list[0].name == "scanner"


@pytest.mark.parametrize("text", ["", "# nothing\n", "incidents:\n"])
def test_empty_files_and_sections_are_fine(tmp_path, text):
    assert from_file(tmp_path, text) == Config()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("incidents: {incident_idle: 5}", r"pyad\.yaml: incidents\.incident_idle: no such setting; did you mean"),
        ("incidents: {incident_idle: 5}", r"did you mean incidents\.incident_idle_s\?"),
        ("incident: {}", r"incident: no such section; did you mean incidents\?"),
        ("novel_p: 1", r"did you mean verdict\.novel_p\?"),
        ("model: {novel_p: 1}", r"did you mean verdict\.novel_p\?"),
        ("model: {batch_rows: many}", r"model\.batch_rows: expected a whole number from 1 to 65536 rows, not many"),
        ("model: {batch_rows: 1.5}", r"whole number"),
        ("model: {batch_rows: true}", r"whole number"),
        ("model: {batch_rows: .nan}", r"whole number"),
        ("model: {provider: gpu}", r"one of auto, cpu, cuda, not gpu"),
        ("verdict: {thresholds: {flod: 0.5}}", r"did you mean flood"),
        ("verdict: {thresholds: {flood: 2}}", r"for flood"),
        ("verdict: {thresholds: 0.5}", r"table"),
        ("verdict: {allow_list: [{name: a}]}", r"would allow everything"),
        ("verdict: {allow_list: [{name: a, ports: 1}, {name: a, ports: 2}]}", r"there twice"),
        ("input: {local_nets: [10.0.0.0/33]}", r"10\.0\.0\.0/33"),
        ("input: 5", r"input: expected settings"),
        ("- a", r"expected sections"),
        ("a: [", r"not a YAML file"),
        ("a: \x00", r"not a YAML file"),
        ("!!python/object/apply:os.system ['true']", r"not a YAML file"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_file_and_key(tmp_path, text, told):
    with pytest.raises(UsageError, match=told):
        from_file(tmp_path, text)


def test_missing_file():
    with pytest.raises(UsageError, match=r"/nope/pyad\.yaml"):
        load_config(Path("/nope/pyad.yaml"), {})


def test_environment_and_set_are_named():
    with pytest.raises(
        UsageError, match=r"environment variable PYAD_MODEL__BATCH_ROW: .*did you mean model\.batch_rows"
    ):
        load_config(None, {"PYAD_MODEL__BATCH_ROW": "1"})
    with pytest.raises(UsageError, match=r"variable PYAD_MODEL_BUNDLE: .*did you mean PYAD_MODEL__BUNDLE\?"):
        load_config(None, {"PYAD_MODEL_BUNDLE": "hospital"})
    with pytest.raises(UsageError, match="did you mean PYAD_INCIDENTS__MIN_CONNS"):
        load_config(None, {"PYAD_INCIDENTS_MIN_CON": "{recon: 2}"})
    assert load_config(None, {"PYAD_DATA": "/x", "PYAD_MODELS": "/y", "PYAD_LAB_NET": "1"}) == Config()
    with pytest.raises(UsageError, match=r"section\.key=value"):
        load_config(None, {}, ["model.batch_rows"])
    with pytest.raises(UsageError, match="nothing named"):
        load_config(None, {}, ["model.batch_rows.x=1"])


def test_the_address_of_zeek_gets_the_path_of_its_api():
    def url(text):
        return load_config(None, {}, [f"bridge.url={text}"]).bridge.url

    assert url("ws://127.0.0.1:27759") == Config().bridge.url == "ws://127.0.0.1:27759/v1/messages/json"
    assert url("wss://zeek.example.org:27759/") == "wss://zeek.example.org:27759/v1/messages/json"
    assert url("ws://proxy/zeek/v1/messages/json") == "ws://proxy/zeek/v1/messages/json"
    for bad in (
        "http://x",
        "127.0.0.1:27759",
        "ws://",
        "ws://x:99999",
        "ws://x:0",
        "ws://u@x",
        "ws://x/?a",
        "ws://a b",
    ):
        with pytest.raises(UsageError, match=r"bridge\.url: expected an address such as ws://127\.0\.0\.1:27759"):
            url(bad)


def test_the_secret_file_has_a_variable_that_zeek_reads_too():
    shared = {"PYAD_SECRET_FILE": "/run/shared"}
    assert load_config(None, shared).bridge.secret_file == "/run/shared"
    both = shared | {"PYAD_BRIDGE__SECRET_FILE": "/run/own"}
    assert load_config(None, both).bridge.secret_file == "/run/own"
    assert load_config(None, {"PYAD_SECRET_FILE": ""}).bridge.secret_file == "/etc/pyad/secret"


def test_no_state_file_is_none():
    assert load_config(None, {}, ["bridge.state_file=none"]).bridge.state_file == ""
    assert load_config(None, {}, ["bridge.state_file="]).bridge.state_file == ""


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("window=0", "a whole number from 1 to 1024 batches"),
        ("lane=a/b", "a lane"),
        ("lane=", "a lane"),
        ("require_mac=yes", "auto, always, never"),
        ("hello_interval_s=60", "from 0.05 to 5 s"),
        ("secret_fil=x", "did you mean bridge.secret_file"),
    ],
)
def test_settings_of_the_bridge_are_checked(setting, told):
    with pytest.raises(UsageError, match=re.escape(told)):
        load_config(None, {}, [f"bridge.{setting}"])
