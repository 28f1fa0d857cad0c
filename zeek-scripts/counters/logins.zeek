##! Counters of what else tells whether a login worked: Windows, directories, databases, remote desktops.

@load base/protocols/krb
@load base/protocols/mysql
@load base/protocols/radius
@load base/protocols/rdp
@load base/protocols/rfb
@load base/protocols/smb
@load ./main

module PyAD;

# Unknown user, wrong password, account restrictions, hours, workstation, expired, disabled, right not granted, expired
# account, password must change, locked out ([MS-ERREF]).
const smb_logon_failures = set(0xC0000064, 0xC000006A, 0xC000006D, 0xC000006E, 0xC000006F, 0xC0000070, 0xC0000071,
                               0xC0000072, 0xC000015B, 0xC0000193, 0xC0000224, 0xC0000234);

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
