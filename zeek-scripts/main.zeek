##! What all parts of pyad share: the events between Zeek and the bridge, how they are authenticated, and the counters
##! by which anyone can see whether rows flow.
##!
##! The bridge (``pyad run``) talks to Zeek over Zeek's WebSocket API. That API authenticates nobody, so messages carry
##! a code made with a secret that never crosses the wire (see :zeek:see:`PyAD::secret_file`).

@load base/frameworks/cluster
@load base/frameworks/input
@load base/frameworks/notice
@load base/frameworks/reporter
@load base/protocols/conn

module PyAD;

export {
	## The version of the package and of the bridge it comes with.
	const version = "0.1.0";

	## Names the layout of a row: a hash over the row's columns. A bridge with another one is not served.
	const row_schema = "83704605d030bb5d";

	## The file that holds the secret shared with the bridge, one line of text. The environment variable
	## ``PYAD_SECRET_FILE`` names another one. ``pyad run`` makes it if it is not there; it is read again when it
	## changes. Without it no verdict is believed, and so no notice raised.
	const secret_file = "/etc/pyad/secret" &redef;

	## The secret itself, for who would rather not have a file. Not empty: ``secret_file`` is not looked at.
	const secret = "" &redef;

	## How long the bridge may be silent before it counts as down. Its heartbeat comes every second.
	option bridge_timeout = 10sec;

	## How often each node tells how it is doing while a bridge is there.
	option status_interval = 10sec;

	## What the topics of all of pyad's events begin with; bridges must be told the same.
	const topic_prefix = "zeek/pyad/";

	# Events from the bridge. ``schema`` is its row schema, ``mac`` the authentication code.

	## The bridge is there and takes ``window`` batches of ``lane`` at a time from each node.
	global hello: event(schema: string, lane: string, session: string, window: count, counter: count, mac: string);
	## The bridge has handled these batches, and their verdicts are on their way.
	global ack: event(schema: string, node: string, epoch: string, lane: string, seqs: vector of string, mac: string);
	## Incidents that a batch gave. Taken only by the manager, or by a Zeek that is no cluster.
	global verdicts: event(schema: string, epoch: string, counter: count, node: string, node_epoch: string,
	                       lane: string, seq: count, notices: vector of string, mac: string);
	## Features or scores have moved away from what the model was calibrated on. ``moved``: name, stability index, before
	## and now of each, between tabs. Taken only by the manager, or by a Zeek that is no cluster.
	global drift: event(schema: string, epoch: string, counter: count, lane: string, conns: count, hours: count,
	                    moved: vector of string, mac: string);
	## All that a capture held is handled.
	global flushed: event(schema: string, node: string, epoch: string, lane: string, seq: count, mac: string);
	## Anyone asks how the nodes are doing.
	global status_request: event(schema: string);

	# Events to the bridge.

	## A batch of rows: connections, each packed into a line of ``lines``.
	global rows: event(schema: string, node: string, epoch: string, lane: string, session: string, seq: count,
	                   dropped: count, lines: string, mac: string) &is_used;
	## The capture is at its end; ``rows`` rows were sent in ``seq`` batches.
	global flush: event(schema: string, node: string, epoch: string, lane: string, seq: count, rows: count,
	                    mac: string) &is_used;
	## How a node is doing, as ``key=value`` texts.
	global status: event(schema: string, node: string, epoch: string, role: string, facts: vector of string) &is_used;

	## A node tells the manager how many rows it has lost since it started, or does not know to have arrived.
	global rows_dropped: event(node: string, epoch: string, dropped: count, mac: string);

	## Whether a bridge has been there since Zeek started. Before, the package does as good as nothing.
	global exporting = F;

	## Random text that names this run of this node.
	global own_epoch = "";

	## This node's name, "zeek" where Zeek is no cluster.
	global node_name: function(): string;

	## The code that proves that a message comes from who knows the secret.
	global mac_of: function(text: string): string;

	## Whether a message is to be believed: its code is right, or this node has no secret to tell by.
	global believable: function(text: string, mac: string): bool;

	## Counts a message from the wire that was not obeyed. ``why``: a fixed text.
	global refuse: function(why: string);

	## Other parts add what they have to say of themselves to a status.
	global status_facts: hook(facts: vector of string);

	## Tells the bridge, and whoever else listens, how this node is doing.
	global send_status: function();
}

# The secret in use; empty while there is none.
global known_secret = "";
# Messages refused, by reason.
global refused: table[string] of count &default=0;
global next_status = double_to_time(0.0);

function node_name(): string
	{
	return Cluster::is_enabled() ? Cluster::node : "zeek";
	}

# HMAC's nesting (RFC 2104) without its padding: the outer hash keeps anyone from appending to a text.
function mac_of(text: string): string
	{
	return known_secret == "" ? "" : sha256_hash(known_secret, sha256_hash(known_secret, text));
	}

function believable(text: string, mac: string): bool
	{
	return known_secret == "" || mac_of(text) == mac;
	}

function refuse(why: string)
	{
	if ( ++refused[why] == 1 )
		Reporter::warning(fmt("PyAD: a message was refused: %s (told once; counted in PyAD::status)", why));
	}

function role(): string
	{
	if ( ! Cluster::is_enabled() )
		return "standalone";

	local t = Cluster::local_node_type();
	return t == Cluster::MANAGER ? "manager" : t == Cluster::WORKER ? "worker" :
	       t == Cluster::PROXY ? "proxy" : t == Cluster::LOGGER ? "logger" : "other";
	}

hook status_facts(facts: vector of string) &priority=5
	{
	for ( why, n in refused )
		facts += fmt("refused.%s=%d", why, n);
	}

function send_status()
	{
	next_status = current_time() + status_interval;
	local facts: vector of string = vector(
	    "pyad=" + version,
	    "zeek=" + zeek_version(),
	    "secret=" + (known_secret == "" ? "-" : sha256_hash("pyad-fingerprint", known_secret)[:12]));

	hook status_facts(facts);
	Cluster::publish(topic_prefix + "status/", status, row_schema, node_name(), own_epoch, role(), facts);
	}

event status_request(schema: string)
	{
	send_status();
	}

event PyAD::regular_status()
	{
	if ( is_remote_event() )
		return;

	if ( exporting && current_time() >= next_status )
		send_status();

	schedule 1sec { PyAD::regular_status() };
	}

event zeek_init() &priority=5
	{
	# unique_id() alone is predictable enough to be guessed; nobody must make codes for a run that is still to come.
	known_secret = secret;
	own_epoch = sha256_hash(unique_id(""), current_time(), node_name())[:16];
	Cluster::subscribe(topic_prefix + "bridge/");
	}

event zeek_init()
	{
	schedule 1sec { PyAD::regular_status() };
	send_status();
	}

type SecretLine: record {
	text: string;
};

# Whoever reaches the WebSocket server may publish any event: what only Zeek itself raises is obeyed from nobody else.
event PyAD::secret_line(description: Input::EventDescription, kind: Input::Event, text: string)
	{
	if ( is_remote_event() )
		return;

	local found = strip(text);

	if ( found != "" )
		known_secret = found;
	}

# Until there is a secret: an input stream on a file that is not there, or not to be read yet, ends at once.
event PyAD::look_for_secret(path: string)
	{
	if ( is_remote_event() || known_secret != "" )
		return;

	local there = file_size(path) >= 0.0;

	if ( there )
		{
		Input::remove("pyad-secret");
		Input::add_event([$source=path, $name="pyad-secret", $reader=Input::READER_RAW, $mode=Input::REREAD,
		                  $fields=SecretLine, $want_record=F, $ev=secret_line]);
		}

	schedule ( there ? 10sec : 2sec ) { PyAD::look_for_secret(path) };
	}

event zeek_init()
	{
	local path = getenv("PYAD_SECRET_FILE");

	if ( secret == "" )
		event PyAD::look_for_secret(path == "" ? secret_file : path);
	}
