# @TEST-DOC: The package changes no column of any log, and without a bridge no log at all.
# @TEST-EXEC: mkdir without with
# @TEST-EXEC: cd without && zeek -C -D -r $CAPTURE ../notice.zeek
# @TEST-EXEC: cd with && zeek -C -D -r $CAPTURE $PACKAGE ../notice.zeek
# @TEST-EXEC: for log in without/*.log; do grep -v -E '^#(open|close)' $log > a; grep -v -E '^#(open|close)' with/$(basename $log) > b; cmp a b; done
# @TEST-EXEC: ls without > a; ls with > b; cmp a b
# @TEST-EXEC: grep -E '^#(fields|types)' with/notice.log > columns
# @TEST-EXEC: btest-diff columns

@TEST-START-FILE notice.zeek
redef enum Notice::Type += { Test_Notice };

event zeek_init()
	{
	NOTICE([$note=Test_Notice, $msg="a notice", $ts=double_to_time(1.0)]);
	}
@TEST-END-FILE
