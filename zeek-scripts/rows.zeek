##! The row of a connection as text, packed as cheaply as Zeek can.

@load base/protocols/conn
@load ./arp
@load ./counters
@load ./main
@load ./medical

module PyAD;

export {
	## The row of a connection as it stands. ``partial``: 0 for its last one.
	global pack: function(c: connection, partial: count): string;
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
		{
		vlan = c$vlan;
		vlans_in_use = T;
		}

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

	if ( partial > 0 || c$duration <= 0secs || c?$pyad_service || c?$vlan || ! o?$l2_addr || ! r?$l2_addr ||
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
