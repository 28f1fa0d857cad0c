##! Application counters: what Zeek's protocol analyzers saw in a connection, as numbers only. Names, passwords, URIs
##! and topics are looked at here and nowhere else; what leaves is how many there were, or how long.
##!
##! A connection that no analyzer speaks of costs nothing. COUNTERS.md says what each counter counts.

@load base/protocols/conn
@load ../main

module PyAD;

export {
	## Whether anything is counted at all.
	const count_applications = T &redef;

	## Weirds that say something of the capture or of the path, not of who is talking.
	option harmless_weirds: set[string] = {
		"bad_IP_checksum", "bad_TCP_checksum", "bad_UDP_checksum", "bad_ICMP_checksum",
		"above_hole_data_without_any_acks", "possible_split_routing", "truncated_header", "truncated_IP",
		"TCP_ack_underflow_or_misorder", "window_recision", "data_before_established",
	};

	## What is counted of a connection, in the order of the row schema; -1 where nothing that counts it ran.
	type Counters: record {
		auth_failures: int &default=-1;
		auth_successes: int &default=-1;
		requests: int &default=-1;
		error_replies: int &default=-1;
		dns_queries: int &default=-1;
		dns_nxdomain: int &default=-1;
		dns_longest_qname: int &default=-1;
		tls_version: int &default=-1;
		tls_invalid: int &default=-1;
		mqtt_publishes: int &default=-1;
		mqtt_refused: int &default=-1;
		ics_writes: int &default=-1;
		ics_exceptions: int &default=-1;
		weirds: int &default=0;
	};

	## The counters of a connection as the row has them: all of them, or ``no_counts``.
	global counters_of: function(c: connection): string;

	## What a row has where nothing was counted: no weirds, or, where nobody looks for any, nothing.
	global no_counts = "0";
}

redef record connection += {
	## What was counted so far.
	pyad_counts: Counters &optional;
};

# What is counted of a connection; made when first asked for.
function counts(c: connection): Counters
	{
	if ( ! c?$pyad_counts )
		c$pyad_counts = Counters();

	return c$pyad_counts;
	}

# A counter with more added, which makes it a number if it was unset.
function plus(counter: int, more: count): int
	{
	return counter < 0 ? more : counter + more;
	}

# From here on requests and errors are numbers.
function start_requests(k: Counters)
	{
	if ( k$requests < 0 )
		k$requests = 0;

	if ( k$error_replies < 0 )
		k$error_replies = 0;
	}

function count_requests(c: connection, n: count)
	{
	local k = counts(c);
	k$requests = k$requests < 0 ? n : k$requests + n;
	}

# A request, or an answer that may be an error, of a protocol that has both.
function request(c: connection)
	{
	local k = counts(c);
	start_requests(k);
	++k$requests;
	}

function count_reply(c: connection, is_error: bool)
	{
	local k = counts(c);

	if ( k$error_replies < 0 )
		k$error_replies = 0;

	if ( is_error )
		++k$error_replies;
	}

function login(c: connection, failed: bool, done: bool)
	{
	local k = counts(c);

	if ( k$auth_failures < 0 )
		k$auth_failures = 0;

	if ( k$auth_successes < 0 )
		k$auth_successes = 0;

	if ( failed )
		++k$auth_failures;

	if ( done )
		++k$auth_successes;
	}

function counters_of(c: connection): string
	{
	if ( ! c?$pyad_counts )
		return no_counts;

	local k = c$pyad_counts;
	return cat_sep(" ", "", k$auth_failures, k$auth_successes, k$requests, k$error_replies, k$dns_queries, k$dns_nxdomain,
	               k$dns_longest_qname, k$tls_version, k$tls_invalid, k$mqtt_publishes, k$mqtt_refused, k$ics_writes,
	               k$ics_exceptions, k$weirds);
	}

event zeek_init()
	{
	# Unlike @if, this sees a redef that comes after this file is loaded; Zeek then makes no such events for us at all.
	if ( ! count_applications )
		{
		disable_event_group("pyad-counters");
		no_counts = "-";
		}
	}

event conn_weird(name: string, c: connection, addl: string, source: string) &group="pyad-counters"
	{
	if ( exporting && name !in harmless_weirds )
		{
		local k = counts(c);
		++k$weirds;
		}
	}
