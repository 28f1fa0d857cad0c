##! Application counters: what Zeek's protocol analyzers saw in a connection, as numbers only. Names, passwords, URIs
##! and topics are looked at here and nowhere else; what leaves is how many there were, or how long.
##!
##! A connection that no analyzer speaks of costs nothing. COUNTERS.md says what each counter counts.

@load base/files/x509
@load base/protocols/conn
@load base/protocols/dns
@load base/protocols/ftp
@load base/protocols/http
@load base/protocols/krb
@load base/protocols/modbus
@load base/protocols/dnp3
@load base/protocols/mqtt
@load base/protocols/mysql
@load base/protocols/pop3
@load base/protocols/radius
@load base/protocols/rdp
@load base/protocols/rfb
@load base/protocols/sip
@load base/protocols/smb
@load base/protocols/smtp
@load base/protocols/snmp
@load base/protocols/ssh
@load base/protocols/ssl
@load ./main

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

# No certificate, bad, unsupported, revoked, expired, unknown; unknown authority (RFC 8446, 6.2).
const certificate_alerts = set(41, 42, 43, 44, 45, 46, 48);
# Unknown user, wrong password, account restrictions, hours, workstation, expired, disabled, right not granted, expired
# account, password must change, locked out ([MS-ERREF]).
const smb_logon_failures = set(0xC0000064, 0xC000006A, 0xC000006D, 0xC000006E, 0xC000006F, 0xC0000070, 0xC0000071,
                               0xC0000072, 0xC000015B, 0xC0000193, 0xC0000224, 0xC0000234);
# Modbus: write coil, register, coils, registers, mask write, read and write.
const modbus_writes = set(5, 6, 15, 16, 22, 23);

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
	k$requests = k$requests < 0 ? 1 : k$requests + 1;

	if ( k$error_replies < 0 )
		k$error_replies = 0;
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

event sip_reply(c: connection, version: string, code: count, reason: string) &group="pyad-counters"
	{
	if ( exporting )
		{
		count_requests(c, 0);
		count_reply(c, code >= 400);
		}
	}

# MQTT

# What any message starts and may add.
function count_mqtt(c: connection, asked: count, published: count, denied: count)
	{
	local k = counts(c);

	if ( k$mqtt_publishes < 0 )
		{
		k$mqtt_publishes = k$mqtt_refused = 0;
		start_requests(k);
		}

	k$requests += asked;
	k$error_replies += denied;
	k$mqtt_publishes += published;
	k$mqtt_refused += denied;
	}

event mqtt_connect(c: connection, msg: MQTT::ConnectMsg) &group="pyad-counters"
	{
	if ( exporting )
		{
		count_mqtt(c, 1, 0, 0);
		login(c, F, F);
		}
	}

event mqtt_connack(c: connection, msg: MQTT::ConnectAckMsg) &group="pyad-counters"
	{
	if ( ! exporting )
		return;

	# Bad user name or password, not authorized; the same and "banned" of MQTT 5.
	local n = msg$return_code;
	count_mqtt(c, 0, 0, n != 0 ? 1 : 0);
	login(c, n == 4 || n == 5 || n == 0x86 || n == 0x87 || n == 0x8c, n == 0);
	}

event mqtt_publish(c: connection, is_orig: bool, msg_id: count, msg: MQTT::PublishMsg) &group="pyad-counters"
	{
	if ( exporting )
		{
		count_mqtt(c, 1, 1, 0);
		login(c, F, F);
		}
	}

event mqtt_subscribe(c: connection, msg_id: count, topics: string_vec, requested_qos: index_vec)
	&group="pyad-counters"
	{
	if ( exporting )
		count_mqtt(c, 1, 0, 0);
	}

event mqtt_unsubscribe(c: connection, msg_id: count, topics: string_vec) &group="pyad-counters"
	{
	if ( exporting )
		count_mqtt(c, 1, 0, 0);
	}

# 0x80 and up refuses the subscription.
event mqtt_suback(c: connection, msg_id: count, granted_qos: count) &group="pyad-counters"
	{
	if ( exporting )
		count_mqtt(c, 0, 0, granted_qos >= 0x80 ? 1 : 0);
	}

# Windows

function count_smb(c: connection, is_orig: bool, status: count, is_setup: bool)
	{
	local answered = ! is_orig;
	count_requests(c, is_orig ? 1 : 0);
	count_reply(c, answered && status >= 0xC0000000);
	login(c, answered && status in smb_logon_failures, answered && is_setup && status == 0);
	}

event smb2_message(c: connection, hdr: SMB2::Header, is_orig: bool) &group="pyad-counters"
	{
	# Command 1 is the session set-up.
	if ( exporting )
		count_smb(c, is_orig, hdr$status, hdr$command == 1);
	}

event smb1_message(c: connection, hdr: SMB1::Header, is_orig: bool) &group="pyad-counters"
	{
	if ( exporting )
		count_smb(c, is_orig, hdr$status, hdr$command == 0x73);
	}

function count_kerberos(c: connection, asked: bool, is_error: bool, failed: bool, done: bool)
	{
	count_requests(c, asked ? 1 : 0);
	count_reply(c, is_error);
	login(c, failed, done);
	}

event krb_as_request(c: connection, msg: KRB::KDC_Request) &group="pyad-counters"
	{
	if ( exporting )
		count_kerberos(c, T, F, F, F);
	}

event krb_tgs_request(c: connection, msg: KRB::KDC_Request) &group="pyad-counters"
	{
	if ( exporting )
		count_kerberos(c, T, F, F, F);
	}

event krb_as_response(c: connection, msg: KRB::KDC_Response) &group="pyad-counters"
	{
	if ( exporting )
		count_kerberos(c, F, F, F, T);
	}

event krb_tgs_response(c: connection, msg: KRB::KDC_Response) &group="pyad-counters"
	{
	if ( exporting )
		count_kerberos(c, F, F, F, F);
	}

event krb_error(c: connection, msg: KRB::Error_Msg) &group="pyad-counters"
	{
	if ( ! exporting )
		return;

	# 25 only asks for pre-authentication; 6, 18 and 24: unknown name, locked, wrong password.
	local n = msg?$error_code ? msg$error_code : 0;
	count_kerberos(c, F, n != 25, n == 6 || n == 18 || n == 24, F);
	}

event rdp_connect_request(c: connection, cookie: string) &group="pyad-counters"
	{
	if ( exporting )
		count_reply(c, F);
	}

event rdp_negotiation_failure(c: connection, failure_code: count) &group="pyad-counters"
	{
	if ( exporting )
		count_reply(c, T);
	}

# Others that tell whether a login worked

event radius_message(c: connection, result: RADIUS::Message) &group="pyad-counters"
	{
	if ( ! exporting )
		return;

	local n = result$code;
	count_requests(c, n == 1 || n == 4 ? 1 : 0);
	count_reply(c, n == 3);
	login(c, n == 3, n == 2);
	}

function count_mysql(c: connection, asked: count, is_error: bool, failed: bool)
	{
	count_requests(c, asked);
	count_reply(c, is_error);
	local k = counts(c);
	k$auth_failures = plus(k$auth_failures, failed ? 1 : 0);
	}

# The client's part of the handshake; with TLS the rest is not seen.
event mysql_handshake(c: connection, username: string) &group="pyad-counters"
	{
	if ( exporting )
		count_mysql(c, 1, F, F);
	}

event mysql_ssl_request(c: connection) &group="pyad-counters"
	{
	if ( exporting )
		count_mysql(c, 1, F, F);
	}

event mysql_command_request(c: connection, command: count, arg: string) &group="pyad-counters"
	{
	if ( exporting )
		count_mysql(c, 1, F, F);
	}

event mysql_error(c: connection, code: count, msg: string) &group="pyad-counters"
	{
	if ( exporting )
		count_mysql(c, 0, T, code == 1044 || code == 1045 || code == 1698);
	}

@ifdef ( rfb_authentication_result )
event rfb_authentication_result(c: connection, result: bool) &group="pyad-counters"
	{
	if ( exporting )
		login(c, ! result, result);
	}
@else
# The older event has it the wrong way round: T is a failure.
event rfb_auth_result(c: connection, result: bool) &group="pyad-counters"
	{
	if ( exporting )
		login(c, result, ! result);
	}
@endif

# Telnet, where a site has switched its analyzer on.
event login_failure(c: connection, user: string, client_user: string, password: string, line: string)
	&group="pyad-counters"
	{
	if ( exporting )
		{
		local k = counts(c);
		k$auth_failures = plus(k$auth_failures, 1);
		}
	}

@ifdef ( LDAP::message )
event LDAP::message(c: connection, message_id: int, opcode: LDAP::ProtocolOpcode, result: LDAP::ResultCode,
                    matched_dn: string, diagnostic_message: string, object: string, argument: string)
	&group="pyad-counters"
	{
	if ( ! exporting )
		return;

	local n = enum_to_int(opcode);
	local r = enum_to_int(result);
	# Bind, search, modify, add, delete, rename, compare, abandon, extended (RFC 4511, 4.2 to 4.12).
	count_requests(c, n == 0 || n == 3 || n == 6 || n == 8 || n == 10 || n == 12 || n == 14 || n == 16 || n == 23 ?
	       1 : 0);
	# 14: the SASL exchange goes on. Only an answer has a result.
	count_reply(c, result != LDAP::ResultCode_Undef && r != 0 && r != 14);
	# 48, 49, 50, 53: wrong method, wrong password, not allowed, unwilling.
	login(c, n == 1 && ( r == 48 || r == 49 || r == 50 || r == 53 ), n == 1 && r == 0);
	}
@endif

@ifdef ( PostgreSQL::error_response )
event PostgreSQL::authentication_ok(c: connection) &group="pyad-counters"
	{
	if ( exporting )
		{
		count_reply(c, F);
		login(c, F, T);
		}
	}

event PostgreSQL::error_response(c: connection) &group="pyad-counters"
	{
	if ( exporting )
		{
		count_reply(c, T);
		login(c, F, F);
		}
	}

# Field C is the SQLSTATE: wrong password, or not to be let in at all.
event PostgreSQL::error_response_identified_field(c: connection, code: string, value: string) &group="pyad-counters"
	{
	if ( exporting && code == "C" && ( value == "28P01" || value == "28000" ) )
		login(c, T, F);
	}
@endif

# Devices

event snmp_get_request(c: connection, is_orig: bool, header: SNMP::Header, pdu: SNMP::PDU) &group="pyad-counters"
	{
	if ( exporting )
		request(c);
	}

event snmp_get_next_request(c: connection, is_orig: bool, header: SNMP::Header, pdu: SNMP::PDU) &group="pyad-counters"
	{
	if ( exporting )
		request(c);
	}

event snmp_set_request(c: connection, is_orig: bool, header: SNMP::Header, pdu: SNMP::PDU) &group="pyad-counters"
	{
	if ( exporting )
		request(c);
	}

event snmp_get_bulk_request(c: connection, is_orig: bool, header: SNMP::Header, pdu: SNMP::BulkPDU)
	&group="pyad-counters"
	{
	if ( exporting )
		request(c);
	}

event snmp_inform_request(c: connection, is_orig: bool, header: SNMP::Header, pdu: SNMP::PDU) &group="pyad-counters"
	{
	if ( exporting )
		request(c);
	}

event snmp_response(c: connection, is_orig: bool, header: SNMP::Header, pdu: SNMP::PDU) &group="pyad-counters"
	{
	if ( exporting )
		{
		count_requests(c, 0);
		count_reply(c, pdu$error_status != 0);
		}
	}

# The counters of a control protocol's connection, all of them numbers.
function ics_counts(c: connection): Counters
	{
	local k = counts(c);

	if ( k$ics_writes < 0 )
		{
		k$ics_writes = k$ics_exceptions = 0;
		start_requests(k);
		}

	return k;
	}

event modbus_message(c: connection, headers: ModbusHeaders, is_orig: bool) &group="pyad-counters"
	{
	if ( ! exporting )
		return;

	if ( is_orig )
		{
		local k = ics_counts(c);
		++k$requests;

		if ( headers$function_code in modbus_writes )
			++k$ics_writes;
		}
	}

event modbus_exception(c: connection, headers: ModbusHeaders, code: count) &group="pyad-counters"
	{
	if ( exporting )
		{
		local k = ics_counts(c);
		++k$error_replies;
		++k$ics_exceptions;
		}
	}

event dnp3_application_request_header(c: connection, is_orig: bool, application: count, fc: count)
	&group="pyad-counters"
	{
	if ( ! exporting )
		return;

	local k = ics_counts(c);

	# 0 is a confirmation.
	if ( fc > 0 && fc < 0x80 )
		++k$requests;

	# Operate, direct operate, direct operate without an answer.
	if ( fc >= 4 && fc <= 6 )
		++k$ics_writes;
	}

event dnp3_application_response_header(c: connection, is_orig: bool, application: count, fc: count, iin: count)
	&group="pyad-counters"
	{
	if ( ! exporting )
		return;

	# Internal indications: function not supported, object unknown, parameter error (IEEE 1815, 4.5.2).
	local k = ics_counts(c);

	if ( iin & 0x0007 != 0 )
		{
		++k$error_replies;
		++k$ics_exceptions;
		}
	}
