##! Exports a row per connection to the bridge: when it ends, and while it lasts if it is long.
##!
##! Rows are packed into text as cheaply as Zeek can, collected into batches and sent while the bridge grants credit.
##! What it does not take at once waits; when too much waits, new rows are dropped before they are even built, and
##! counted. Zeek never waits for the bridge, and its memory stays bounded whatever the bridge does.

@load base/protocols/conn
@load base/frameworks/cluster
@load base/utils/site
@load ./main
@load ./counters
@load ./medical
@load ./arp

module PyAD;

export {
	## Rows to a batch at most.
	const batch_rows = 100 &redef;

	## The longest a row waits for others to make a batch while there are few.
	option flush_interval = 25msec;

	## The longest a row waits while more than ``busy_rate`` come: sending costs by the batch, so waiting pays then.
	option busy_flush_interval = 80msec;

	## Rows a second from which on a node counts as busy.
	option busy_rate = 60.0;

	## Batches on their way to the bridge at most, whatever the bridge grants; it acknowledges up to eight at once, so
	## fewer than that make it slow.
	option max_unacked = 32;

	## Rows that wait at most, about 400 bytes each, while the bridge is slow or away. More are dropped and counted.
	option max_backlog = 20000;

	## A batch that was not acknowledged for so long is sent again.
	option resend_after = 15sec;

	## A connection that lasts gives its first row at its first packet after so long.
	option long_conn_first = 1min;

	## And then one each time this long, if packets came.
	option long_conn_interval = 5min;

	## Shard over the cluster's proxies: a host's connections go to the proxy that Zeek's HRW hashing picks, and each
	## proxy has a bridge of its own (``pyad run --lane PROXY``). For sites past one bridge's rate; see the
	## documentation for what it costs.
	const shard_over_proxies = F &redef;

	## Whether a row is exported at all; a handler that breaks leaves the connection out. For sites that have
	## traffic no detector should see. ``partial`` is 0 for a connection's last row.
	global export_policy: hook(c: connection, partial: count);

	## Rows as they are sent: lines of one text, which costs less to send than a vector of them.
	type Batch: record {
		## The rows, with line feeds between them.
		text: string;
		## How many they are.
		n: count;
	};

	## One way to a bridge: its topic, and what was sent and is waiting.
	type Lane: record {
		## "all", or the proxy's name.
		name: string;
		## Where its batches are published.
		topic: string;
		## The bridge's WebSocket connection; empty while there has been none.
		session: string &default="";
		## Wall-clock time of the last heartbeat.
		heard: time &default=double_to_time(0.0);
		## Heartbeats count up; an old one is not obeyed.
		counter: count &default=0;
		## Batches that may be on their way.
		credit: count &default=0;
		## Rows not yet in a batch.
		buffer: vector of string &default=vector();
		## Whether a timer will flush the buffer; how long it runs.
		timed: bool &default=F;
		wait: interval &default=0secs;
		## Batches not acknowledged, by their number.
		batches: table[count] of Batch &default=table();
		## The newest batch; the newest sent in this session; all up to ``floor`` are acknowledged.
		seq: count &default=0;
		sent: count &default=0;
		floor: count &default=0;
		## Batches on their way.
		in_flight: count &default=0;
		## When a batch last went out onto an empty way or was acknowledged.
		moved: time &default=double_to_time(0.0);
		## Rows held; rows exported, acknowledged, dropped since Zeek started.
		held: count &default=0;
		exported: count &default=0;
		acked: count &default=0;
		dropped: count &default=0;
		## Rows that other lanes took over when the proxy died; they are exported once more there.
		handed_over: count &default=0;
	};

	## A batch is complete and about to be sent.
	global batch_made: hook(lane: Lane);

	## An acknowledgement came.
	global batch_acked: hook(lane: Lane, seq: count);

	## Sends what the bridge has credit for.
	global pump: function(lane: Lane);

	## Makes a batch of what the buffer holds.
	global flush_buffer: function(lane: Lane);

	## A row for one lane. The caller has looked whether there is room.
	global put: function(lane: Lane, row: string);

	## The row of a connection as it stands. ``partial``: 0 for its last one.
	global pack: function(c: connection, partial: count): string;

	## The lane of a host, and whether it takes another row; if not, the loss is counted.
	global lane_of: function(host: addr): Lane;
	global has_room: function(lane: Lane): bool;

	## The connection with this id and uid if it is still open, else nothing.
	global open_connection: function(id: conn_id, uid: string): vector of connection;

	## Whether the bridge of a lane was heard lately.
	global is_alive: function(lane: Lane): bool;

	## All lanes by name.
	global lanes: table[string] of Lane = table();

	## Whether a capture is being replayed: nothing is dropped, Zeek waits for the bridge (see replay.zeek).
	const replaying = F &redef;
}

# How often a connection that lasts was told of, and its packets then.
type Told: record {
	partial: count &default=0;
	pkts: count &default=0;
};

redef record connection += {
	pyad_told: Told &optional;
};

# With shards: the topic of each proxy → its lane.
global lane_of_topic: table[string] of Lane = table();
# Takes the blame for rows that no proxy is there for; always full, so that it never takes one.
global nowhere = Lane($name="none", $topic="", $held=0xffffffffffffffff);
# The lane of a node that does not shard.
global only_lane = Lane($name="all", $topic=topic_prefix + "rows/all/");

function is_alive(lane: Lane): bool
	{
	return lane$session != "" && current_time() - lane$heard < bridge_timeout;
	}

function lane_of(host: addr): Lane
	{
	if ( "all" in lanes )
		return lanes["all"];

	local topic = Cluster::hrw_topic(Cluster::proxy_pool, host);
	return topic in lane_of_topic ? lane_of_topic[topic] : nowhere;
	}

function has_room(lane: Lane): bool
	{
	if ( lane$topic != "" && ( lane$held < max_backlog || replaying ) )
		return T;

	++lane$dropped;
	return F;
	}

function send(lane: Lane, seq: count)
	{
	local b = lane$batches[seq]$text;
	local code = "";

	if ( known_secret != "" )
		code = mac_of(cat("rows\n", row_schema, "\n", node_name(), "\n", own_epoch, "\n", lane$name, "\n", lane$session, "\n",
		                  seq, "\n", lane$dropped, "\n", b));

	Cluster::publish(lane$topic, PyAD::rows, row_schema, node_name(), own_epoch, lane$name, lane$session, seq, lane$dropped,
	                 b, code);
	}

function pump(lane: Lane)
	{
	if ( lane$in_flight == 0 )
		lane$moved = current_time();

	while ( lane$in_flight < lane$credit && lane$sent < lane$seq )
		{
		++lane$sent;

		if ( lane$sent in lane$batches )
			{
			++lane$in_flight;
			send(lane, lane$sent);
			}
		}
	}

function flush_buffer(lane: Lane)
	{
	if ( |lane$buffer| == 0 )
		return;

	lane$batches[++lane$seq] = Batch($text=join_string_vec(lane$buffer, "\n"), $n=|lane$buffer|);
	lane$buffer = vector();

	if ( is_alive(lane) )
		pump(lane);

	hook batch_made(lane);
	}

event PyAD::flush_timer(name: string)
	{
	local lane = lanes[name];

	# Behind batches that wait for credit a small one would only wait as well; many small ones cost the bridge dear.
	if ( lane$sent < lane$seq )
		{
		schedule lane$wait { PyAD::flush_timer(name) };
		return;
		}

	lane$timed = F;
	lane$wait = |lane$buffer| > busy_rate * interval_to_double(lane$wait) ? busy_flush_interval : flush_interval;
	flush_buffer(lane);
	}

function open_connection(id: conn_id, uid: string): vector of connection
	{
	# Zeek finds ICMP "connections" from a larger to a smaller address only under their id turned round.
	local turned = conn_id($orig_h=id$resp_h, $orig_p=id$resp_p, $resp_h=id$orig_h, $resp_p=id$orig_p, $proto=id$proto,
	                       $ctx=id$ctx);

	for ( _, i in vector(id, turned) )
		if ( connection_exists(i) )
			{
			local c = lookup_connection(i);

			if ( c$uid == uid )
				return vector(c);
			}

	return vector();
	}

function put(lane: Lane, row: string)
	{
	lane$buffer += row;
	++lane$held;
	++lane$exported;

	if ( |lane$buffer| >= batch_rows )
		flush_buffer(lane);
	else if ( ! lane$timed && ! replaying )
		{
		lane$timed = T;

		if ( lane$wait == 0secs )
			lane$wait = flush_interval;

		schedule lane$wait { PyAD::flush_timer(lane$name) };
		}
	}

# What became of a connection so far, in conn.log's terms: its own function for this is not for others.
function state_of(c: connection): string
	{
	local o = c$orig$state;
	local r = c$resp$state;
	local p = get_port_transport_proto(c$id$resp_p);

	if ( p == udp )
		return o == UDP_ACTIVE ? ( r == UDP_ACTIVE ? "SF" : "S0" ) : ( r == UDP_ACTIVE ? "SHR" : "OTH" );

	if ( p != tcp )
		return "OTH";

	local o_silent = o == TCP_INACTIVE || o == TCP_PARTIAL;
	local r_silent = r == TCP_INACTIVE || r == TCP_PARTIAL;

	if ( r == TCP_RESET )
		{
		local refused_at_once = o == TCP_SYN_SENT || o == TCP_SYN_ACK_SENT ||
		                        ( o == TCP_RESET && c$orig$size == 0 && c$resp$size == 0 );
		return refused_at_once ? "REJ" : ( o_silent ? "RSTRH" : "RSTR" );
		}

	if ( o == TCP_RESET )
		return ! r_silent ? "RSTO" : ( /\^?S[^HAFGIQ]*R.*/ == c$history ? "RSTOS0" : "OTH" );

	if ( o == TCP_CLOSED )
		return r == TCP_CLOSED ? "SF" : ( r_silent ? "SH" : "S2" );

	if ( r == TCP_CLOSED )
		return o_silent ? "SHR" : "S3";

	if ( o == TCP_SYN_SENT && r == TCP_INACTIVE )
		return "S0";

	return o == TCP_ESTABLISHED && r == TCP_ESTABLISHED ? "S1" : "OTH";
	}

# The services Zeek confirmed, and what only we recognise.
function service_of(c: connection): string
	{
	local own = to_lower(join_string_set(c$service, ","));
	local extra = extra_service(c);
	return extra == "" ? own : ( own == "" ? extra : own + "," + extra );
	}

# The row of a connection that goes on, or of which something is not known.
function pack_any(c: connection, partial: count): string
	{
	local id = c$id;
	local o = c$orig;
	local r = c$resp;
	local i = c$conn;
	# What is not set stays an empty text, which cat_sep() makes "-".
	local duration: any = "";
	local orig_bytes: any = "";
	local resp_bytes: any = "";
	local orig_pkts: any = "";
	local orig_ip_bytes: any = "";
	local resp_pkts: any = "";
	local resp_ip_bytes: any = "";
	local local_orig: any = "";
	local local_resp: any = "";
	local vlan: any = "";

	if ( c$duration > 0secs )
		{
		duration = c$duration / 1sec;
		orig_bytes = o$size;
		resp_bytes = r$size;
		}

	if ( o?$num_pkts )
		{
		orig_pkts = o$num_pkts;
		orig_ip_bytes = o$num_bytes_ip;
		resp_pkts = r$num_pkts;
		resp_ip_bytes = r$num_bytes_ip;
		}

	if ( i?$local_orig )
		{
		local_orig = i$local_orig;
		local_resp = i$local_resp;
		}

	if ( c?$vlan )
		vlan = c$vlan;

	return cat_sep(" ", "-", c$start_time, c$uid, id$orig_h, id$orig_p, id$resp_h, id$resp_p, i$proto, service_of(c),
	               duration, orig_bytes, resp_bytes, partial == 0 && i?$conn_state ? i$conn_state : state_of(c),
	               c$history, orig_pkts, orig_ip_bytes, resp_pkts, resp_ip_bytes, i$missed_bytes, local_orig, local_resp,
	               o?$l2_addr ? o$l2_addr : "", r?$l2_addr ? r$l2_addr : "", vlan, partial, counters_of(c));
	}

function pack(c: connection, partial: count): string
	{
	local id = c$id;
	local o = c$orig;
	local r = c$resp;
	local i = c$conn;

	if ( partial > 0 || c$duration == 0secs || c?$pyad_service || c?$vlan || ! o?$l2_addr || ! r?$l2_addr ||
	     ! o?$num_pkts || ! i?$local_orig || ! i?$conn_state )
		return pack_any(c, partial);

	# The usual row, in as few steps as Zeek can do it: one call, and nothing looked up that conn.log knows already.
	if ( ! c?$pyad_counts )
		return cat_sep(" ", "-", c$start_time, c$uid, id$orig_h, id$orig_p, id$resp_h, id$resp_p, i$proto,
		               i?$service ? i$service : "", c$duration / 1sec, o$size, r$size, i$conn_state, c$history,
		               o$num_pkts, o$num_bytes_ip, r$num_pkts, r$num_bytes_ip, i$missed_bytes, i$local_orig,
		               i$local_resp, o$l2_addr, r$l2_addr, "", 0, no_counts);

	local k = c$pyad_counts;
	return cat_sep(" ", "-", c$start_time, c$uid, id$orig_h, id$orig_p, id$resp_h, id$resp_p, i$proto,
	               i?$service ? i$service : "", c$duration / 1sec, o$size, r$size, i$conn_state, c$history, o$num_pkts,
	               o$num_bytes_ip, r$num_pkts, r$num_bytes_ip, i$missed_bytes, i$local_orig, i$local_resp, o$l2_addr,
	               r$l2_addr, "", 0, k$auth_failures, k$auth_successes, k$requests, k$error_replies, k$dns_queries,
	               k$dns_nxdomain, k$dns_longest_qname, k$tls_version, k$tls_invalid, k$mqtt_publishes, k$mqtt_refused,
	               k$ics_writes, k$ics_exceptions, k$weirds);
	}

@if ( ! Cluster::is_enabled() || Cluster::local_node_type() == Cluster::WORKER )

# Exports a connection if the site wants it and there is room.
function export_row(c: connection, partial: count)
	{
	local lane = shard_over_proxies ? lane_of(c$id$orig_h) : only_lane;

	if ( ( lane$held >= max_backlog && ! has_room(lane) ) || ! hook export_policy(c, partial) )
		return;

	# put(), without what a call costs, where no batch is complete and the timer runs.
	if ( lane$timed && |lane$buffer| + 1 < batch_rows )
		{
		lane$buffer += pack(c, partial);
		++lane$held;
		++lane$exported;
		}
	else
		put(lane, pack(c, partial));
	}

event PyAD::address_changed(ts: time, address: addr, new_mac: string, old_mac: string)
	{
	local lane = lane_of(address);

	if ( ! exporting || ! has_room(lane) )
		return;

	local local_net = |Site::local_nets| > 0 ? cat(Site::is_local_addr(address)) : "";
	put(lane, cat_sep(" ", "-", ts, unique_id("C"), address, 0, address, 0, "arp", "", "", "", "", "", "", "", "", "", "",
	                  "", local_net, local_net, new_mac, old_mac, "", 0));
	}

# Sends everything again that was not acknowledged.
function resend(lane: Lane)
	{
	lane$sent = lane$floor;
	lane$in_flight = 0;
	pump(lane);
	}

# After conn.log's own handlers have filled in the connection, before they write it.
event connection_state_remove(c: connection) &priority=-3
	{
	if ( exporting && c?$conn )
		export_row(c, 0);
	}

# Connections that last are watched from their fourth packet on, which spares the many that never get there.
const watched_packets = 4;
redef ConnThreshold::generic_packet_thresholds += { watched_packets };

event conn_generic_packet_threshold_crossed(c: connection, threshold: count) &priority=-10
	{
	if ( ! exporting || threshold != watched_packets )
		return;

	# The framework's own function costs 14 us, and is only needed where others watch this connection, too.
	if ( c?$thresholds )
		ConnThreshold::set_duration_threshold(c, long_conn_first);
	else
		set_current_conn_duration_threshold(c$id, long_conn_first);
	}

# Tells of a connection that goes on, if packets came since it was last told of.
function tell(c: connection)
	{
	if ( ! c?$pyad_told )
		c$pyad_told = Told();

	local pkts = c$orig?$num_pkts ? c$orig$num_pkts + c$resp$num_pkts : 0;

	if ( pkts == c$pyad_told$pkts )
		return;

	c$pyad_told$pkts = pkts;
	export_row(c, ++c$pyad_told$partial);
	}

event PyAD::tell_again(id: conn_id, uid: string)
	{
	for ( _, c in open_connection(id, uid) )
		{
		tell(c);
		schedule long_conn_interval { PyAD::tell_again(c$id, uid) };
		}
	}

event conn_duration_threshold_crossed(c: connection, threshold: interval, is_orig: bool)
	{
	if ( ! exporting || threshold != long_conn_first || c?$pyad_told || ! c?$conn )
		return;

	tell(c);
	schedule long_conn_interval { PyAD::tell_again(c$id, c$uid) };
	}

event PyAD::hello(schema: string, lane: string, session: string, window: count, counter: count, mac: string)
	{
	if ( lane !in lanes )
		return;

	if ( schema != row_schema )
		{
		refuse("hello from a bridge with another row schema; package and bridge must be of one version");
		send_status();
		return;
		}

	if ( ! believable(cat("hello\n", schema, "\n", lane, "\n", session, "\n", window, "\n", counter), mac) )
		{
		refuse("hello with a wrong code; do bridge and Zeek have the same secret?");
		return;
		}

	local l = lanes[lane];

	if ( counter <= l$counter && known_secret != "" )
		{
		refuse("hello that is a repeat");
		return;
		}

	local now = current_time();

	# A second bridge stands by until the first has been silent for three heartbeats.
	if ( session != l$session && l$session != "" && now - l$heard < 3sec )
		return;

	l$counter = counter;
	l$heard = now;
	l$credit = window < max_unacked ? window : max_unacked;
	exporting = T;

	if ( session != l$session )
		{
		l$session = session;
		resend(l);
		send_status();
		}
	else
		pump(l);
	}

function acknowledge(l: Lane, seq: count)
	{
	# One for a batch that was not sent is forged; a second one for the same batch changes nothing.
	if ( seq > l$sent || seq !in l$batches )
		return;

	local n = l$batches[seq]$n;
	delete l$batches[seq];
	l$held -= n;
	l$acked += n;
	--l$in_flight;

	while ( l$floor < l$seq && ( l$floor + 1 ) !in l$batches )
		++l$floor;

	hook batch_acked(l, seq);
	}

event PyAD::ack(schema: string, node: string, epoch: string, lane: string, seqs: vector of string, mac: string)
	{
	if ( node != node_name() || epoch != own_epoch || lane !in lanes )
		return;

	if ( ! believable(cat("ack\n", schema, "\n", node, "\n", epoch, "\n", lane, "\n", join_string_vec(seqs, "\n")), mac) )
		{
		refuse("ack with a wrong code");
		return;
		}

	local l = lanes[lane];
	l$moved = current_time();

	for ( _, text in seqs )
		if ( /^[0-9]{1,18}$/ == text )
			acknowledge(l, to_count(text));

	pump(l);
	}

# What was announced as lost so far.
global announced = 0;

# Says how many rows this node has lost, if more than it said before.
function announce_losses(undelivered: count)
	{
	local lost = nowhere$dropped + undelivered;

	for ( _, lane in lanes )
		lost += lane$dropped;

	if ( lost <= announced )
		return;

	announced = lost;

	if ( Cluster::is_enabled() )
		Cluster::publish(Cluster::manager_topic, PyAD::rows_dropped, node_name(), own_epoch, lost);
	else
		event PyAD::rows_dropped(node_name(), own_epoch, lost);
	}

# What is not acknowledged now may never have arrived.
event zeek_done()
	{
	local held = 0;

	for ( _, lane in lanes )
		held += lane$held;

	if ( ! replaying )
		announce_losses(held);
	}

event PyAD::check_lanes()
	{
	announce_losses(0);

	for ( _, lane in lanes )
		if ( lane$in_flight > 0 && current_time() - lane$moved > resend_after && is_alive(lane) )
			resend(lane);

	schedule 1sec { PyAD::check_lanes() };
	}

event zeek_init() &priority=3
	{
	if ( shard_over_proxies )
		for ( name, node in Cluster::nodes )
			if ( node$node_type == Cluster::PROXY )
				{
				lanes[name] = Lane($name=name, $topic=topic_prefix + "rows/" + name + "/");
				# A pool names its nodes by this topic; every backend makes it in its own way.
				lane_of_topic[Cluster::node_topic(name)] = lanes[name];
				}

	# Without a proxy there is nothing to shard over.
	if ( |lanes| == 0 )
		lanes["all"] = only_lane;
	}

event zeek_init()
	{
	if ( ! replaying )
		schedule 1sec { PyAD::check_lanes() };
	}

# The rows of a dead proxy's hosts go where those hosts go from now on.
event Cluster::node_down(name: string, id: string) &priority=-10
	{
	if ( ! shard_over_proxies || name !in lanes )
		return;

	local dead = lanes[name];
	local homeless: vector of string;
	local seq = dead$floor;

	while ( seq < dead$seq )
		if ( ++seq in dead$batches )
			for ( _, waiting in split_string(dead$batches[seq]$text, /\n/) )
				homeless += waiting;

	for ( _, waiting in dead$buffer )
		homeless += waiting;

	dead$batches = table();
	dead$buffer = vector();
	dead$floor = dead$sent = dead$seq;
	dead$in_flight = 0;
	dead$held = 0;
	dead$handed_over += |homeless|;

	for ( _, row in homeless )
		{
		local lane = lane_of(to_addr(split_string_n(row, / /, F, 3)[2]));

		if ( has_room(lane) )
			put(lane, row);
		}
	}

hook status_facts(facts: vector of string)
	{
	for ( name, l in lanes )
		facts += fmt("lane.%s=session:%s,exported:%d,acked:%d,dropped:%d,held:%d,handed_over:%d,in_flight:%d,seq:%d,alive:%s",
		             name, l$session == "" ? "-" : l$session, l$exported, l$acked, l$dropped, l$held, l$handed_over,
		             l$in_flight, l$seq, is_alive(l) ? "T" : "F");

	if ( nowhere$dropped > 0 )
		facts += fmt("lane.none=dropped:%d", nowhere$dropped);
	}

@endif
