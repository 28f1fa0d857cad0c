# @TEST-DOC: The allow-list holds notices back by subnet and class, and can be changed while Zeek runs.
# @TEST-EXEC: zeek -b $PACKAGE $SCRIPTS/bridge.zeek %INPUT
# @TEST-EXEC: zeek-cut -m id.orig_h class outcome < pyad.log > incidents
# @TEST-EXEC: zeek-cut -m src note < notice.log > notices
# @TEST-EXEC: btest-diff incidents
# @TEST-EXEC: btest-diff notices

# Options cannot be set while Zeek ends.
redef exit_only_after_terminate = T;
redef PyAD::allow_list += { [192.0.2.0/28] = set("brute_force"), [198.51.100.7/32] = set("*") };

event tell(seq: count, source: string, class: string)
	{
	Bridge::verdicts(seq, vector(Bridge::line(table([2] = source, [8] = class, [10] = cat("i", seq)))));
	}

event change()
	{
	Config::set_value("PyAD::allow_list_nets", set(203.0.113.0/24));
	event tell(5, "203.0.113.5", "c2");
	}

event PyAD::incident(rec: PyAD::Info)
	{
	if ( rec$identifier == "i4" )
		event change();
	if ( rec$identifier == "i5" )
		terminate();
	}

event zeek_init() &priority=-20
	{
	event tell(1, "192.0.2.1", "brute_force");
	event tell(2, "192.0.2.1", "recon");
	event tell(3, "198.51.100.7", "c2");
	event tell(4, "203.0.113.5", "c2");
	}
