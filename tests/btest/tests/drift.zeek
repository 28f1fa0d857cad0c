# @TEST-DOC: Drift becomes one notice a day with what moved; one that is forged, repeated or malformed becomes nothing.
# @TEST-EXEC: zeek -b $PACKAGE $SCRIPTS/bridge.zeek %INPUT > output 2> errors
# @TEST-EXEC: zeek-cut -m note msg sub n suppress_for < notice.log > notices
# @TEST-EXEC: btest-diff output
# @TEST-EXEC: btest-diff notices

const moves = vector("novelty\t0.61\t0.589\t1.4", "orig_bytes\t0.4\t146\t1.07e+03", "counter_requests.unset\t2.5\t1\t0.02");

event the_end()
	{
	local facts: vector of string;
	hook PyAD::status_facts(facts);
	sort(facts, strcmp);

	for ( _, fact in facts )
		if ( /^refused/ in fact )
			print fact;
	}

event zeek_init() &priority=-20
	{
	Bridge::drift(moves, "code");
	Bridge::drift(moves, "epoch");
	Bridge::drift(moves);
	Bridge::drift(moves, "counter");
	# Within a day it is told once.
	Bridge::drift(moves);
	# Values that are none.
	Bridge::drift(vector("no <b>name</b>\t1\t2\t3"));
	Bridge::drift(vector("a\t1\t2"));
	Bridge::drift(vector("a\t1\t2\t3\t4"));
	Bridge::drift(vector("a\t1\t2\tlarge"));
	Bridge::drift(vector("a\t1\t2\t3\n"));
	local many: vector of string;

	while ( |many| < 17 )
		many += "a\t-\t-1.5\tinf";

	Bridge::drift(many);
	event the_end();
	}
