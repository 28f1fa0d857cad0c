##! Counters of DNS, TLS, SSH, HTTP and the text protocols with reply codes.

@load base/files/x509
@load base/protocols/dns
@load base/protocols/ftp
@load base/protocols/http
@load base/protocols/pop3
@load base/protocols/sip
@load base/protocols/smtp
@load base/protocols/ssh
@load base/protocols/ssl
@load ./main

module PyAD;

redef record connection += {
	# SIP: requests with credentials that were not answered yet.
	pyad_sip_logins: count &optional;
};

# No certificate, bad, unsupported, revoked, expired, unknown; unknown authority (RFC 8446, 6.2).
const certificate_alerts = set(41, 42, 43, 44, 45, 46, 48);

# DNS

event dns_message(c: connection, is_orig: bool, msg: dns_msg, len: count) &group="pyad-counters"
	{
	if ( ! exporting )
		return;

	# counts(), without what a call costs: these come more often than all others.
	if ( ! c?$pyad_counts )
		c$pyad_counts = Counters();

	local k = c$pyad_counts;

	if ( k$dns_queries < 0 )
		{
		k$dns_queries = k$dns_nxdomain = k$dns_longest_qname = 0;
		start_requests(k);
		}

	if ( ! msg$QR )
		{
		++k$dns_queries;
		++k$requests;
		}
	else if ( msg$rcode != 0 )
		{
		++k$error_replies;

		if ( msg$rcode == 3 )
			++k$dns_nxdomain;
		}
	}

event dns_request(c: connection, msg: dns_msg, query: string, qtype: count, qclass: count) &group="pyad-counters"
	{
	# NetBIOS names are all of one length.
	if ( exporting && ! msg$is_netbios && c?$pyad_counts && c$pyad_counts$dns_queries >= 0 &&
	     |query| > c$pyad_counts$dns_longest_qname )
		c$pyad_counts$dns_longest_qname = |query|;
	}

# TLS

event ssl_client_hello(c: connection, version: count, record_version: count, possible_ts: time, client_random: string,
                       session_id: string, ciphers: index_vec, comp_methods: index_vec) &group="pyad-counters"
	{
	if ( exporting )
		{
		local k = counts(c);
		k$tls_invalid = plus(k$tls_invalid, 0);
		}
	}

event ssl_server_hello(c: connection, version: count, record_version: count, possible_ts: time, server_random: string,
                       session_id: string, cipher: count, comp_method: count) &group="pyad-counters"
	{
	if ( ! exporting )
		return;

	# TLS 1.3 says so in an extension; Zeek's own handler, which comes first, has put the two together.
	local agreed = c?$ssl && c$ssl?$version_num ? c$ssl$version_num : version;
	local k = counts(c);
	k$tls_invalid = plus(k$tls_invalid, 0);

	# Drafts of TLS 1.3 were 0x7fNN.
	k$tls_version = agreed / 256 == 0x7f ? 0x0304 : agreed;
	}

event ssl_alert(c: connection, is_client: bool, level: count, desc: count) &group="pyad-counters"
	{
	if ( exporting )
		{
		local k = counts(c);
		k$tls_invalid = plus(k$tls_invalid, desc in certificate_alerts ? 1 : 0);
		}
	}

# Not when the connection is established: a client that refuses the certificate never gets there.
event x509_certificate(f: fa_file, cert_ref: opaque of x509, cert: X509::Certificate) &group="pyad-counters"
	{
	if ( ! exporting || ( f$source != "SSL" && f$source != "DTLS" ) || ! f?$conns || ! f?$info || ! f$info?$mime_type ||
	     f$info$mime_type != "application/x-x509-user-cert" )
		return;

	local now = network_time();

	if ( now < cert$not_valid_before || now > cert$not_valid_after )
		for ( _, c in f$conns )
			{
			local k = counts(c);
			k$tls_invalid = plus(k$tls_invalid, 1);
			}
	}

# SSH

event ssh_server_version(c: connection, version: string) &group="pyad-counters"
	{
	if ( exporting )
		login(c, F, F);
	}

event ssh_auth_attempted(c: connection, authenticated: bool) &group="pyad-counters"
	{
	if ( exporting )
		login(c, ! authenticated, F);
	}

event ssh_auth_successful(c: connection, auth_method_none: bool) &group="pyad-counters"
	{
	if ( exporting )
		login(c, F, T);
	}

# HTTP

# From here on a web session's requests, errors and logins are numbers.
function start_http(k: Counters)
	{
	start_requests(k);
	k$auth_failures = k$auth_successes = 0;
	}

event http_request(c: connection, method: string, original_URI: string, unescaped_URI: string, version: string)
	&group="pyad-counters"
	{
	if ( ! exporting )
		return;

	local k = counts(c);

	if ( k$auth_failures < 0 )
		start_http(k);

	++k$requests;
	}

event http_reply(c: connection, version: string, code: count, reason: string) &group="pyad-counters"
	{
	if ( ! exporting )
		return;

	local k = counts(c);

	if ( k$auth_failures < 0 )
		start_http(k);

	if ( code >= 400 )
		{
		++k$error_replies;

		if ( code == 401 || code == 403 || code == 407 )
			++k$auth_failures;
		}
	# Basic authentication alone: to look at every header for the other schemes costs more than all else here.
	else if ( code / 100 == 2 && c?$http && c$http?$username )
		++k$auth_successes;
	}

# Protocols with reply codes like FTP's

event ftp_request(c: connection, command: string, arg: string) &group="pyad-counters"
	{
	if ( exporting )
		count_requests(c, 1);
	}

event ftp_reply(c: connection, code: count, msg: string, cont_resp: bool) &group="pyad-counters"
	{
	if ( ! exporting || cont_resp )
		return;

	count_requests(c, 0);
	count_reply(c, code >= 400);
	login(c, code == 530, code == 230);
	}

event smtp_request(c: connection, is_orig: bool, command: string, arg: string) &group="pyad-counters"
	{
	if ( exporting )
		count_requests(c, 1);
	}

event smtp_reply(c: connection, is_orig: bool, code: count, cmd: string, msg: string, cont_resp: bool)
	&group="pyad-counters"
	{
	if ( ! exporting || cont_resp )
		return;

	count_requests(c, 0);
	count_reply(c, code >= 400);
	login(c, code == 535, code == 235);
	}

event pop3_request(c: connection, is_orig: bool, command: string, arg: string) &group="pyad-counters"
	{
	if ( exporting )
		request(c);
	}

event pop3_reply(c: connection, is_orig: bool, cmd: string, msg: string) &group="pyad-counters"
	{
	if ( exporting )
		{
		count_requests(c, 0);
		count_reply(c, cmd == "ERR");
		}
	}

event sip_request(c: connection, method: string, original_URI: string, version: string) &group="pyad-counters"
	{
	if ( exporting )
		request(c);
	}

event sip_header(c: connection, is_request: bool, name: string, value: string) &group="pyad-counters"
	{
	if ( exporting && is_request && ( name == "AUTHORIZATION" || name == "PROXY-AUTHORIZATION" ) )
		c$pyad_sip_logins = c?$pyad_sip_logins ? c$pyad_sip_logins + 1 : 1;
	}

event sip_reply(c: connection, version: string, code: count, reason: string) &group="pyad-counters"
	{
	if ( exporting )
		{
		count_requests(c, 0);
		count_reply(c, code >= 400);

		# The first 401 or 407 only says which credentials are wanted; on the way to an answer come 1xx.
		local tried = c?$pyad_sip_logins && c$pyad_sip_logins > 0;
		login(c, code == 403 || ( tried && ( code == 401 || code == 407 ) ), tried && code / 100 == 2);

		# Who is let in has no other tries under way: what is left of them was sent twice.
		if ( tried && code >= 200 )
			c$pyad_sip_logins = code < 300 ? 0 : c$pyad_sip_logins - 1;
		}
	}
