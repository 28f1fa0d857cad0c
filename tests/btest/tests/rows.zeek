# @TEST-DOC: Rows are packed in the order of the schema, say what conn.log says, and there is one for every connection.
# @TEST-EXEC: zeek -C -D -r $CAPTURE $PACKAGE $SCRIPTS/bridge.zeek %INPUT > rows
# @TEST-EXEC: zeek-cut uid id.orig_h id.orig_p id.resp_h id.resp_p proto conn_state history orig_pkts orig_ip_bytes resp_pkts resp_ip_bytes missed_bytes local_orig local_resp < conn.log | tr '\t' ' ' | sort > from-conn-log
# @TEST-EXEC: awk '$24 == 0 { sub("/.*", "", $4); sub("/.*", "", $6); print $2, $3, $4, $5, $6, $7, $12, $13, $14, $15, $16, $17, $18, $19, $20 }' rows | sort > from-rows
# @TEST-EXEC: cmp from-conn-log from-rows
# @TEST-EXEC: awk '{ print $7, $24, (NF >= 24) }' rows | sort | uniq -c | sed 's/^ *//' > kinds
# @TEST-EXEC: btest-diff kinds

redef PyAD::max_backlog = 1000000;

event zeek_init() &priority=-20
	{
	Bridge::hello();
	}

hook PyAD::batch_made(lane: PyAD::Lane)
	{
	for ( _, row in split_string(lane$batches[lane$seq]$text, /\n/) )
		print row;
	}

event zeek_done() &priority=-20
	{
	PyAD::flush_buffer(PyAD::lanes["all"]);
	}
