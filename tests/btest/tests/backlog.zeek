# @TEST-DOC: Without a bridge nothing is exported; a bridge that takes nothing is sent its credit, then rows wait, then they are dropped and counted.
# @TEST-EXEC: zeek -C -D -r $CAPTURE $PACKAGE $SCRIPTS/bridge.zeek %INPUT > output
# @TEST-EXEC: btest-diff output

redef PyAD::max_backlog = 3000;
redef PyAD::max_unacked = 4;

global seen = 0;

event connection_state_remove(c: connection)
	{
	if ( ++seen == 100 )
		{
		print "before hello", PyAD::exporting, PyAD::lanes["all"]$exported;
		Bridge::hello(1000000);
		}

	# An acknowledgement that was never due, one that is forged, and a proper one.
	if ( seen == 2000 )
		{
		Bridge::ack(1000);
		event PyAD::ack(PyAD::row_schema, "zeek", PyAD::own_epoch, "all", vector("1"), "00");
		Bridge::ack(1);
		}
	}

event zeek_done() &priority=-20
	{
	local lane = PyAD::lanes["all"];
	print "credit", lane$credit, "in flight", lane$in_flight, "sent", lane$sent;
	print "held", lane$held, "acknowledged", lane$acked;
	print "every row is accounted for", lane$exported == lane$held + lane$acked;
	print "dropped", lane$dropped > 0;
	}
