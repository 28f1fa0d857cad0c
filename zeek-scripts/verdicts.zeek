##! Turns the bridge's verdicts into notices, on the manager or on a Zeek that is no cluster, and says when the bridge
##! is down or rows were lost.
##!
##! Everything from the wire is checked before use: who sent it, whether it is new, and every value in it.

@load base/frameworks/notice
@load base/utils/addrs
@load ./main

module PyAD;

export {
	redef enum Notice::Type += {
		## Many connections meant to exhaust a host or a service.
		Flood,
		## Hosts or services are being looked for.
		Recon,
		## Passwords or names are being guessed.
		Brute_Force,
		## An attack on a web service.
		Web_Attack,
		## Somebody pretends to be another host.
		Spoofing,
		## A host obeys somebody from outside.
		C2,
		## Data leave the network.
		Exfiltration,
		## A weakness is being used.
		Exploit,
		## No known attack, but nothing like what is usual.
		Novel_Behavior,
		## The bridge is silent; nothing is being judged.
		Bridge_Down,
		## Rows were lost on their way to the bridge: the detector is partly blind.
		Rows_Dropped,
		## Features or scores have moved away from what the model was calibrated on.
		Model_Drift,
	};

	redef enum Log::ID += { LOG };

	## For who wants to filter or change pyad.log.
	global log_policy: Log::PolicyHook;

	## One incident at one moment, as the bridge told it: a line of pyad.log.
	type Info: record {
		## When the connection that gave this began.
		ts: time &log;
		## When Zeek heard of it.
		heard: time &log;
		## The connection's uid, as in conn.log.
		uid: string &log &optional;
		## The connection's addresses and ports.
		id: conn_id &log;
		## The connection's VLAN.
		vlan: int &log &optional;
		## The class of attack, or "novel".
		class: string &log;
		## "new", "update" or "closed".
		state: string &log;
		## Names the incident; all its lines have the same.
		incident: string &log;
		## Connections in the incident so far.
		n: count &log;
		## Whether a notice was raised, and if not, why.
		outcome: string &log;
		## One plain sentence, as in the notice.
		msg: string &log;
		## ``key=value`` pairs, as in the notice.
		sub: string &log;
		## What Zeek's Notice framework suppresses repeats by.
		identifier: string;
	};

	## The allow-list: what these originators (for spoofing: claimed addresses) do raises no notice. Per subnet the
	## classes that are allowed, or "*" for all. It can be changed while Zeek runs (``Config::set_value``), and the
	## bridge has an allow-list of its own that can do more. What it held back is in pyad.log.
	option allow_list: table[subnet] of set[string] = {} &redef;

	## The same for all classes at once; a plain set can be changed by a file, too (``Config::config_files``).
	option allow_list_nets: set[subnet] = {} &redef;

	## How long Zeek's Notice framework holds back a notice of the same incident, state and size.
	option suppress_for = 1hr;

	## How often lost rows raise a notice for one node.
	option drops_suppress_for = 10min;

	## Whether pyad.log is written.
	option log_incidents = T;

	## Whether notice.log is flushed after the bridge's verdicts, not only once a second as all logs are.
	option flush_notices = T;

	## A verdict arrived and was valid. For other scripts; handlers see also what the allow-list holds back.
	global incident: event(rec: Info);

	## Raised when a line is written to pyad.log.
	global log_pyad: event(rec: Info);

	## Verdicts are applied when the script that replays captures says so, not when they come.
	const hold_verdicts = F &redef;

	## Applies the verdicts of one batch.
	global apply: function(notices: vector of string);
}

const type_of: table[string] of Notice::Type = {
	["flood"] = Flood,
	["recon"] = Recon,
	["brute_force"] = Brute_Force,
	["web_attack"] = Web_Attack,
	["spoofing"] = Spoofing,
	["c2"] = C2,
	["exfiltration"] = Exfiltration,
	["exploit"] = Exploit,
	["novel"] = Novel_Behavior,
};

const protocols: table[string] of transport_proto = {
	["tcp"] = tcp,
	["udp"] = udp,
	["icmp"] = icmp,
};

const states = set("new", "update", "closed");

# What one line of a verdict looks like. How long its fields may be is looked at one by one: a pattern with large counts
# takes Zeek most of a second to make ready, and no packet is read meanwhile.
const line_form = /[0-9]+\.[0-9]+\t[-0-9A-Za-z]+\t[0-9A-Fa-f.:]+\t[0-9]+\t[0-9A-Fa-f.:]+\t[0-9]+\t[a-z0-9_]+\t(-|[0-9]+)\t[a-z0-9_]+\t[a-z]+\t[-0-9a-z]+\t[0-9a-z]+\t[0-9]+\t[ -~]+\t[ -~]+/;
const longest = vector(18, 40, 45, 5, 45, 5, 20, 5, 20, 6, 60, 40, 15, 256, 1500);

# On every node: the manager writes it, but the file is the logger's.
event zeek_init() &priority=5
	{
	Log::create_stream(PyAD::LOG, [$columns=Info, $ev=log_pyad, $path="pyad", $policy=log_policy]);
	}

@if ( ! Cluster::is_enabled() || Cluster::local_node_type() == Cluster::MANAGER )

# Newest counter of each lane's bridge.
global newest: table[string] of count &default=0;
# Batches whose verdicts were applied: per node, run and lane the newest number, and the ones of late.
global applied: table[string] of set[count] &read_expire=1day;
global applied_newest: table[string] of count &default=0 &read_expire=1day;
# A bridge that comes back after a crash is sent at most this many batches again.
const remembered = 1024;

# When the bridge of each lane was last heard, and whether its absence was told.
global bridges: table[string] of time;
global told_down: set[string];
global hello_counter: table[string] of count &default=0;

# Dropped rows by node and run.
global dropped_of: table[string, string] of count &default=0 &read_expire=7days;
# Nodes that have signed what they said of their losses.
global signs_losses: set[string];

global raised = 0;
global held_back = 0;

function allowed(i: Info): bool
	{
	local subject = i$id$orig_h;

	if ( subject in allow_list_nets )
		return T;

	if ( subject !in allow_list )
		return F;

	local classes = allow_list[subject];
	return "*" in classes || i$class in classes;
	}

# The incident in a line, or nothing where the line is not a proper one.
function parse(line: string): Info
	{
	local f = split_string(line, /\t/);
	local p = f[6] in protocols ? protocols[f[6]] : unknown_transport;
	local i = Info($ts=double_to_time(to_double(f[0])), $heard=network_time(),
	               $id=conn_id($orig_h=to_addr(f[2]), $orig_p=count_to_port(to_count(f[3]), p),
	                           $resp_h=to_addr(f[4]), $resp_p=count_to_port(to_count(f[5]), p)),
	               $class=f[8], $state=f[9], $identifier=f[10], $incident=f[11], $n=to_count(f[12]), $outcome="raised",
	               $msg=f[13], $sub=f[14]);

	if ( f[1] != "-" )
		i$uid = f[1];

	if ( f[7] != "-" )
		i$vlan = to_int(f[7]);

	return i;
	}

function is_valid(line: string): bool
	{
	# No line that is any good is longer; a pattern is not to be matched against whatever comes.
	if ( |line| > 2500 || line_form != line )
		return F;

	local f = split_string(line, /\t/);

	for ( i, n in longest )
		if ( |f[i]| > n )
			return F;

	return f[8] in type_of && f[9] in states && is_valid_ip(f[2]) && is_valid_ip(f[4]) &&
	       to_count(f[3]) <= 65535 && to_count(f[5]) <= 65535;
	}

function raise(i: Info)
	{
	if ( allowed(i) )
		{
		i$outcome = "allowed";
		++held_back;
		}
	else
		{
		++raised;
		local n = Notice::Info($note=type_of[i$class], $ts=i$ts, $id=i$id, $src=i$id$orig_h, $dst=i$id$resp_h,
		                       $p=i$id$resp_p, $proto=get_port_transport_proto(i$id$resp_p), $msg=i$msg, $sub=i$sub,
		                       $n=i$n, $identifier=i$identifier, $suppress_for=suppress_for);

		if ( i?$uid )
			n$uid = i$uid;

		NOTICE(n);
		}

	event PyAD::incident(i);

	if ( log_incidents )
		Log::write(PyAD::LOG, i);
	}

function apply(notices: vector of string)
	{
	for ( _, line in notices )
		if ( is_valid(line) )
			raise(parse(line));
		else
			refuse("verdict with a value that is not one");

	if ( flush_notices && |notices| > 0 )
		Log::flush(Notice::LOG);
	}

# Whether the verdicts of a batch are still to be applied; if so they count as applied from now on.
function is_first(batch: string, seq: count): bool
	{
	if ( batch !in applied )
		applied[batch] = set();

	local newest_seq = applied_newest[batch];

	if ( seq in applied[batch] || seq + remembered <= newest_seq )
		return F;

	add applied[batch][seq];

	if ( seq > newest_seq )
		applied_newest[batch] = seq;

	if ( |applied[batch]| > 2 * remembered )
		{
		local old: set[count];

		for ( s in applied[batch] )
			if ( s + remembered <= applied_newest[batch] )
				add old[s];

		for ( s in old )
			delete applied[batch][s];
		}

	return T;
	}

# What the replay script holds back, by batch.
global held_verdicts: table[count] of vector of string;

event PyAD::verdicts(schema: string, epoch: string, counter: count, node: string, node_epoch: string, lane: string,
                     seq: count, notices: vector of string, mac: string)
	{
	if ( known_secret == "" )
		{
		refuse("verdicts, though there is no secret yet to tell the bridge by");
		return;
		}

	local text = cat("verdicts\n", schema, "\n", epoch, "\n", counter, "\n", node, "\n", node_epoch, "\n", lane, "\n", seq);

	if ( mac_of(text + "\n" + join_string_vec(notices, "\n")) != mac )
		{
		refuse("verdicts with a wrong code; do bridge and Zeek have the same secret?");
		return;
		}

	if ( schema != row_schema || epoch != PyAD::own_epoch )
		{
		refuse("verdicts for another run of Zeek");
		send_status();
		return;
		}

	if ( counter <= newest[lane] )
		{
		refuse("verdicts that are a repeat");
		return;
		}

	newest[lane] = counter;

	if ( ! is_first(cat(node, " ", node_epoch, " ", lane), seq) )
		return;

	if ( hold_verdicts )
		held_verdicts[seq] = notices;
	else
		apply(notices);
	}

# The manager hears the heartbeat as well: it says when it stops.
event PyAD::hello(schema: string, lane: string, session: string, window: count, counter: count, mac: string) &priority=5
	{
	# Without a secret anyone could say hello; then silence says nothing either.
	if ( known_secret == "" || schema != row_schema || counter <= hello_counter[lane] )
		return;

	if ( ! believable(cat("hello\n", schema, "\n", lane, "\n", session, "\n", window, "\n", counter), mac) )
		return;

	hello_counter[lane] = counter;
	bridges[lane] = current_time();

	# A manager has no connections to export, but its status to tell.
	if ( Cluster::is_enabled() )
		exporting = T;

	if ( lane in told_down )
		{
		delete told_down[lane];
		Reporter::info(fmt("PyAD: the bridge of lane %s is back", lane));
		}
	}

event PyAD::check_bridges()
	{
	if ( is_remote_event() )
		return;

	# Before the first packet of a capture Zeek's clock stands at zero.
	for ( lane, heard in bridges )
		if ( heard > double_to_time(0.0) && current_time() - heard > bridge_timeout && lane !in told_down )
			{
			add told_down[lane];
			NOTICE([$note=Bridge_Down, $msg=fmt("The pyad bridge of lane %s has been silent for %.0f s; rows wait for it, and what is too much is dropped and counted", lane, interval_to_double(current_time() - heard)),
			        $sub=fmt("lane=%s", lane), $identifier=cat(lane, heard), $suppress_for=suppress_for]);
			Log::flush(Notice::LOG);
			}

	schedule 1sec { PyAD::check_bridges() };
	}

event PyAD::rows_dropped(node: string, epoch: string, dropped: count, mac: string)
	{
	# A worker without the secret has no code; one that has shown it once, and this node itself, always has.
	if ( mac != "" || node == node_name() || node in signs_losses )
		{
		if ( ! believable(cat("rows_dropped\n", node, "\n", epoch, "\n", dropped), mac) )
			{
			refuse("rows_dropped with a wrong code; does that node have the same secret?");
			return;
			}

		if ( known_secret != "" && node in Cluster::nodes )
			add signs_losses[node];
		}

	local before = dropped_of[node, epoch];

	if ( dropped <= before )
		return;

	# A node that does not exist has lost nothing.
	if ( node != node_name() && node !in Cluster::nodes )
		{
		refuse("rows_dropped of an unknown node");
		return;
		}

	dropped_of[node, epoch] = dropped;
	NOTICE([$note=Rows_Dropped, $msg=fmt("%s lost %d rows on their way to the pyad bridge so far, or does not know that they arrived; the detector was partly blind", node, dropped),
	        $sub=fmt("node=%s dropped=%d", node, dropped), $n=dropped,
	        # Ten times as many are news again.
	        $identifier=cat(node, " ", |cat(dropped)|), $suppress_for=drops_suppress_for]);
	}

event zeek_init() &priority=5
	{
	Cluster::subscribe(topic_prefix + "verdicts/");
	}

event zeek_init()
	{
	if ( ! hold_verdicts )
		schedule 1sec { PyAD::check_bridges() };
	}

hook status_facts(facts: vector of string)
	{
	facts += fmt("notices=%d", raised);
	facts += fmt("allowed=%d", held_back);

	for ( lane, heard in bridges )
		facts += fmt("bridge.%s=silent:%.1f", lane, interval_to_double(current_time() - heard));
	}

@endif
