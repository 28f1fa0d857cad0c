# @TEST-DOC: A verdict becomes a notice and a line of pyad.log; one that is forged, repeated or malformed becomes nothing.
# @TEST-EXEC: zeek -b $PACKAGE $SCRIPTS/bridge.zeek %INPUT > output 2> errors
# @TEST-EXEC: zeek-cut -m ts uid id.orig_h id.orig_p id.resp_h id.resp_p proto note msg sub src dst p n suppress_for < notice.log > notices
# @TEST-EXEC: zeek-cut -m ts uid id.orig_h id.resp_p class state incident n outcome < pyad.log > incidents
# @TEST-EXEC: btest-diff output
# @TEST-EXEC: btest-diff notices
# @TEST-EXEC: btest-diff incidents

event PyAD::incident(rec: PyAD::Info)
	{
	print "incident", rec$class, rec$identifier, rec$n, rec$outcome;
	}

event the_end()
	{
	local facts: vector of string;
	hook PyAD::status_facts(facts);
	sort(facts, strcmp);

	for ( _, fact in facts )
		if ( /^(refused|notices|allowed)/ in fact )
			print fact;
	}

event zeek_init() &priority=-20
	{
	# All right.
	Bridge::verdicts(1, vector(Bridge::line(table())));
	Bridge::verdicts(2, vector(Bridge::line(table([8] = "novel", [9] = "update", [10] = "abc-update-1", [2] = "2001:db8::1", [4] = "2001:db8::2", [6] = "udp", [1] = "-"))));
	Bridge::verdicts(3, vector(Bridge::line(table([6] = "unknown_transport", [3] = "0", [5] = "0", [8] = "spoofing", [10] = "x-new-0", [7] = "12"))));
	# The same identifier once more is suppressed by Zeek.
	Bridge::verdicts(4, vector(Bridge::line(table())));
	# The same batch again, forged, repeated, for another run, of another schema.
	Bridge::verdicts(1, vector(Bridge::line(table([10] = "again-new-0"))));
	Bridge::verdicts(6, vector(Bridge::line(table([10] = "repeat-new-0"))), "counter");
	Bridge::verdicts(5, vector(Bridge::line(table([10] = "forged-new-0"))), "code");
	Bridge::verdicts(7, vector(Bridge::line(table([10] = "other-new-0"))), "epoch");
	Bridge::verdicts(8, vector(Bridge::line(table([10] = "schema-new-0"))), "schema");
	# Values that are none.
	local bad: table[string] of table[count] of string = table(
	    ["class"] = table([8] = "nonsense"), ["state"] = table([9] = "open"), ["address"] = table([2] = "192.0.2.256"),
	    ["port"] = table([5] = "65536"), ["number"] = table([12] = "NaN"), ["time"] = table([0] = "nan"),
	    ["control"] = table([13] = "one\x01two"), ["tab"] = table([13] = "one\ttwo"), ["newline"] = table([14] = "a\nb"),
	    ["long"] = table([13] = string_cat(gsub("0123456789", /./, "0123456789012345678901234567890"), "x")),
	    ["empty"] = table([13] = ""), ["uid"] = table([1] = "C\"1"), ["high"] = table([13] = "\xff"));
	local seq = 20;

	for ( _, change in bad )
		Bridge::verdicts(++seq, vector(Bridge::line(change)));

	Bridge::verdicts(++seq, vector("", "\t\t\t", "nonsense"));
	event the_end();
	}
