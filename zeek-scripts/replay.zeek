##! For ``pyad replay --engine zeek``: a capture through Zeek and the bridge in lock-step, so that two runs give the
##! same notices. Loaded by that command, never by a site.
##!
##! Zeek does not begin before the bridge is there, stops while too many batches are unanswered, and applies verdicts at
##! fixed points of the packet stream, not when they happen to arrive. At the end of the capture it exports what is still
##! open, waits until everything is answered, and ends.

@load ./__load__

module PyAD;

redef replaying = T;
redef hold_verdicts = T;
redef log_incidents = F;
# The bridge writes pyad.log itself in a replay, with every verdict in it.

export {
	## Batches that may be unanswered. Verdicts of a batch are applied when this many batches more were made.
	const replay_window = 4 &redef;
}

type OpenConn: record {
	id: conn_id;
	uid: string;
};

redef record connection += {
	## Order of arrival: at the end of the capture open connections are exported in it.
	pyad_order: count &default=0;
};

global waiting = T;
global at_end = F;
global bridge_gone = F;
global applied_up_to = 0;
global answered: set[count];
global arrivals = 0;
global open_conns: table[count] of OpenConn;

# Applies what is due, stops Zeek or lets it go on.
function gate()
	{
	local lane = lanes["all"];

	if ( bridge_gone || at_end )
		return;

	while ( applied_up_to + replay_window <= lane$seq && applied_up_to + 1 in answered )
		{
		++applied_up_to;
		delete answered[applied_up_to];

		if ( applied_up_to in held_verdicts )
			{
			apply(held_verdicts[applied_up_to]);
			delete held_verdicts[applied_up_to];
			}
		}

	local full = applied_up_to + replay_window <= lane$seq;

	if ( full && ! waiting )
		{
		waiting = T;
		suspend_processing();
		}

	if ( ! full && waiting )
		{
		waiting = F;
		continue_processing();
		}
	}

hook batch_made(lane: Lane)
	{
	gate();
	}

hook batch_acked(lane: Lane, seq: count)
	{
	add answered[seq];

	if ( lane$session != "" )
		gate();
	}

event zeek_init()
	{
	suspend_processing();
	}

# After the exporter has taken the hello.
event PyAD::hello(schema: string, lane: string, session: string, window: count, counter: count, mac: string) &priority=-5
	{
	if ( exporting && waiting && lanes["all"]$seq == 0 )
		{
		waiting = F;
		continue_processing();
		}
	}

event new_connection(c: connection)
	{
	c$pyad_order = ++arrivals;
	open_conns[arrivals] = OpenConn($id=c$id, $uid=c$uid);
	}

event connection_flipped(c: connection)
	{
	if ( c$pyad_order > 0 )
		open_conns[c$pyad_order]$id = c$id;
	}

event connection_state_remove(c: connection)
	{
	delete open_conns[c$pyad_order];
	}

event Pcap::file_done(path: string)
	{
	local lane = lanes["all"];
	at_end = T;
	local i = 0;

	while ( ++i <= arrivals )
		if ( i in open_conns )
			for ( _, c in open_connection(open_conns[i]$id, open_conns[i]$uid) )
				if ( c?$conn )
					export_row(c, 0);

	# What the analyzers still have to say at the end of Zeek was said.
	exporting = F;
	flush_buffer(lane);

	if ( bridge_gone )
		terminate();
	else
		{
		local code = mac_of(cat("flush\n", row_schema, "\n", node_name(), "\n", own_epoch, "\n", lane$name, "\n", lane$seq,
		                        "\n", lane$exported));
		Cluster::publish(lane$topic, PyAD::flush, row_schema, node_name(), own_epoch, lane$name, lane$seq, lane$exported,
		                 code);
		}
	}

event PyAD::flushed(schema: string, node: string, epoch: string, lane: string, seq: count, mac: string)
	{
	if ( ! at_end || epoch != PyAD::own_epoch ||
	     ! believable(cat("flushed\n", schema, "\n", node, "\n", epoch, "\n", lane, "\n", seq), mac) )
		return;

	while ( applied_up_to <= lanes[lane]$seq )
		if ( ++applied_up_to in held_verdicts )
			apply(held_verdicts[applied_up_to]);

	terminate();
	}

event Cluster::websocket_client_lost(endpoint: Cluster::EndpointInfo, code: count, reason: string)
	{
	# Only the bridge knows the port of a replay; without it Zeek goes on alone, so that its own logs are whole.
	if ( ! exporting && ! at_end )
		return;

	bridge_gone = T;

	if ( waiting )
		{
		waiting = F;
		continue_processing();
		}

	if ( at_end )
		terminate();
	}
