##! Turns what the bridge says of drift into a notice: traffic or scores are not what the model was calibrated on any more.

@load base/frameworks/notice
@load ./main
@load ./verdicts

module PyAD;

export {
	## How often drift of the model raises a notice.
	option drift_suppress_for = 1day;
}

# What one quantity that moved looks like: its name, the stability index, its mean before and now.
const moved_form = /[a-z0-9_.]{1,60}(\t(-|-?inf|-?[0-9]{1,4}(\.[0-9]{1,8})?(e[-+]?[0-9]{1,3})?)){3}/;
const max_moved = 16;

@if ( ! Cluster::is_enabled() || Cluster::local_node_type() == Cluster::MANAGER )

event PyAD::drift(schema: string, epoch: string, counter: count, lane: string, conns: count, hours: count,
                  moved: vector of string, mac: string)
	{
	if ( known_secret == "" )
		{
		refuse("drift, though there is no secret yet to tell the bridge by");
		return;
		}

	local text = cat("drift\n", schema, "\n", epoch, "\n", counter, "\n", lane, "\n", conns, "\n", hours);

	if ( |moved| > 0 )
		text += "\n" + join_string_vec(moved, "\n");

	if ( mac_of(text) != mac )
		{
		refuse("drift with a wrong code; do bridge and Zeek have the same secret?");
		return;
		}

	if ( schema != row_schema || epoch != PyAD::own_epoch )
		{
		refuse("drift for another run of Zeek");
		send_status();
		return;
		}

	if ( counter <= newest[lane] )
		{
		refuse("drift that is a repeat");
		return;
		}

	newest[lane] = counter;

	if ( |moved| == 0 || |moved| > max_moved )
		{
		refuse("drift with a value that is not one");
		return;
		}

	local told: vector of string;
	local named: vector of string;

	for ( _, line in moved )
		{
		if ( |line| > 200 || moved_form != line )
			{
			refuse("drift with a value that is not one");
			return;
			}

		local f = split_string(line, /\t/);
		told += fmt("%s %s -> %s", f[0], f[2], f[3]);
		named += fmt("%s:%s:%s:%s", f[0], f[1], f[2], f[3]);
		}

	NOTICE([$note=Model_Drift, $msg=fmt("Traffic or scores have moved away from what the pyad model was calibrated on, over %d hours: %s", hours, join_string_vec(told, ", ")),
	        $sub=fmt("lane=%s conns=%d hours=%d moved=%s", lane, conns, hours, join_string_vec(named, ",")), $n=conns,
	        $identifier=lane, $suppress_for=drift_suppress_for]);
	Log::flush(Notice::LOG);
	}

@endif
