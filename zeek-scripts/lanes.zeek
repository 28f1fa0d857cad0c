##! The ways to the bridges: rows are collected into batches and sent while the bridge grants credit.
##!
##! What it does not take at once waits; when too much waits, new rows are dropped before they are even built, and
##! counted. Zeek never waits for the bridge, and its memory stays bounded whatever the bridge does.

@load base/frameworks/cluster
@load ./main

module PyAD;

export {
	## Rows to a batch at most.
	const batch_rows = 100 &redef;

	## The longest a row waits for others to make a batch while there are few.
	option flush_interval = 25msec;

	## The longest a row waits on a busy node: sending costs by the batch, several times what a row costs.
	option busy_flush_interval = 150msec;

	## Rows in the last second over which a node counts as busy.
	option busy_rate = 100;

	## Batches on their way to the bridge at most, whatever the bridge grants; it acknowledges up to eight at once, so
	## fewer than that make it slow.
	option max_unacked = 32;

	## Rows that wait at most, about 400 bytes each, while the bridge is slow or away. More are dropped and counted.
	option max_backlog = 20000;

	## A batch that was not acknowledged for so long is sent again.
	option resend_after = 15sec;

	## Shard over the cluster's proxies: a host's connections go to the proxy that Zeek's HRW hashing picks, and each
	## proxy has a bridge of its own (``pyad run --lane PROXY``). For sites past one bridge's rate; see the
	## documentation for what it costs.
	const shard_over_proxies = F &redef;

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
		## ``exported`` a second ago, which tells whether the node is busy.
		looked_at: count &default=0;
		## Batches not acknowledged, by their number.
		batches: table[count] of Batch &default=table();
		## The newest batch; the newest sent in this session; all up to ``floor`` are acknowledged.
		seq: count &default=0;
		sent: count &default=0;
		floor: count &default=0;
		## Batches on their way.
		in_flight: count &default=0;
		## When a batch last went out onto an empty way, or the oldest on its way was acknowledged.
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

	## The lane of a host, and whether it takes another row; if not, the loss is counted.
	global lane_of: function(host: addr): Lane;
	global has_room: function(lane: Lane): bool;

	## Whether the bridge of a lane was heard lately.
	global is_alive: function(lane: Lane): bool;

	## All lanes by name.
	global lanes: table[string] of Lane = table();

	## Whether a capture is being replayed: nothing is dropped, Zeek waits for the bridge (see replay.zeek).
	const replaying = F &redef;
}

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
	if ( is_remote_event() )
		return;

	local lane = lanes[name];

	# Behind batches that wait for credit a small one would only wait as well; many small ones cost the bridge dear.
	if ( lane$sent < lane$seq )
		{
		schedule lane$wait { PyAD::flush_timer(name) };
		return;
		}

	lane$timed = F;
	flush_buffer(lane);
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

@if ( ! Cluster::is_enabled() || Cluster::local_node_type() == Cluster::WORKER )

# Sends everything again that was not acknowledged.
function resend(lane: Lane)
	{
	lane$sent = lane$floor;
	lane$in_flight = 0;
	pump(lane);
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

	# Without a secret the count may be anyone's, and must not stand in the way of the bridge's own.
	if ( known_secret != "" )
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
		{
		++l$floor;
		l$moved = current_time();
		}

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

	local code = mac_of(cat("rows_dropped\n", node_name(), "\n", own_epoch, "\n", lost));

	if ( Cluster::is_enabled() )
		Cluster::publish(Cluster::manager_topic, PyAD::rows_dropped, node_name(), own_epoch, lost, code);
	else
		event PyAD::rows_dropped(node_name(), own_epoch, lost, code);
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
	if ( is_remote_event() )
		return;

	announce_losses(0);

	for ( _, lane in lanes )
		{
		lane$wait = lane$exported - lane$looked_at > busy_rate ? busy_flush_interval : flush_interval;
		lane$looked_at = lane$exported;

		if ( lane$in_flight > 0 && current_time() - lane$moved > resend_after && is_alive(lane) )
			resend(lane);
		}

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
