##! Counters of what devices speak: MQTT, SNMP, Modbus, DNP3.

@load base/protocols/dnp3
@load base/protocols/modbus
@load base/protocols/mqtt
@load base/protocols/snmp
@load ./main

module PyAD;

# Modbus: write coil, register, coils, registers, mask write, read and write.
const modbus_writes = set(5, 6, 15, 16, 22, 23);

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
