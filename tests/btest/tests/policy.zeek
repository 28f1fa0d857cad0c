# @TEST-DOC: A site can keep connections from being exported.
# @TEST-EXEC: zeek -C -D -r $CAPTURE $PACKAGE $SCRIPTS/bridge.zeek %INPUT > output
# @TEST-EXEC: btest-diff output

redef PyAD::max_backlog = 1000000;

hook PyAD::export_policy(c: connection, partial: count)
	{
	if ( c$id$resp_p == 2575/tcp )
		break;
	}

event zeek_init() &priority=-20
	{
	Bridge::hello();
	}

hook PyAD::batch_made(lane: PyAD::Lane)
	{
	for ( _, row in split_string(lane$batches[lane$seq]$text, /\n/) )
		if ( / 2575 tcp / in row )
			print row;
	}

event zeek_done() &priority=-20
	{
	print "some were exported", PyAD::lanes["all"]$exported > 1000;
	}
