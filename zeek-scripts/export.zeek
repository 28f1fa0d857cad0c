##! Exports a row per connection to the bridge: when it ends, and while it lasts if it is long.

@load base/protocols/conn
@load base/utils/site
@load ./arp
@load ./lanes
@load ./rows

module PyAD;

export {
	## A connection that lasts gives its first row at its first packet after so long.
	option long_conn_first = 1min;

	## And then one each time this long, if packets came.
	option long_conn_interval = 5min;

	## Whether a row is exported at all; a handler that breaks leaves the connection out. For sites that have
	## traffic no detector should see. ``partial`` is 0 for a connection's last row.
	global export_policy: hook(c: connection, partial: count);

	## The connection with this id and uid if it is still open, else nothing.
	global open_connection: function(id: conn_id, uid: string): vector of connection;
}

# How often a connection that lasts was told of, and its packets then.
type Told: record {
	partial: count &default=0;
	pkts: count &default=0;
};

redef record connection += {
	pyad_told: Told &optional;
};

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
	if ( is_remote_event() )
		return;

	local lane = lane_of(address);

	if ( ! exporting || ! has_room(lane) )
		return;

	local local_net = |Site::local_nets| > 0 ? cat(Site::is_local_addr(address)) : "";
	put(lane, cat_sep(" ", "-", ts, unique_id("C"), address, 0, address, 0, "arp", "", "", "", "", "", "", "", "", "", "",
	                  "", local_net, local_net, new_mac, old_mac, "", 0));
	}

# After conn.log's own handlers have filled in the connection, before they write it.
event connection_state_remove(c: connection) &priority=-3
	{
	if ( exporting && c?$conn )
		export_row(c, 0);
	}

# Connections that last are watched from their fourth packet on, which spares the many that never get there; also while
# no bridge is there, or those that began before it came would never be told of.
const watched_packets = 4;
redef ConnThreshold::generic_packet_thresholds += { watched_packets };

event conn_generic_packet_threshold_crossed(c: connection, threshold: count) &priority=-10
	{
	if ( threshold != watched_packets )
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
	if ( ! exporting )
		return;

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
	if ( is_remote_event() )
		return;

	for ( _, c in open_connection(id, uid) )
		{
		tell(c);
		schedule long_conn_interval { PyAD::tell_again(c$id, uid) };
		}
	}

event conn_duration_threshold_crossed(c: connection, threshold: interval, is_orig: bool)
	{
	if ( threshold != long_conn_first || c?$pyad_told || ! c?$conn )
		return;

	tell(c);
	schedule long_conn_interval { PyAD::tell_again(c$id, c$uid) };
	}

@endif
