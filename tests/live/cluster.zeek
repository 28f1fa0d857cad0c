# A worker waits for every bridge, and for every node that its rows and logs go to, before it reads its capture.
redef exit_only_after_terminate = T;
redef LogAscii::use_json = T;
redef tcp_attempt_delay = 1sec;

module PyAD;

@if ( Cluster::local_node_type() == Cluster::WORKER )

global all_there = F;

event zeek_init()
	{
	suspend_processing();
	}

event PyAD::hello(schema: string, lane: string, session: string, window: count, counter: count, mac: string)
    &priority=-9
	{
	for ( _, l in lanes )
		if ( ! is_alive(l) )
			return;

	if ( all_there || Cluster::get_active_node_count(Cluster::LOGGER) < 1 ||
	     Cluster::get_active_node_count(Cluster::PROXY) < 2 || Cluster::get_active_node_count(Cluster::MANAGER) < 1 )
		return;

	all_there = T;
	continue_processing();
	}

@endif
