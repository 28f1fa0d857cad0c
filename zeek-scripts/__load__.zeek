@load ./main
@load ./counters
@load ./medical
@load ./arp
@load ./export
@load ./verdicts
@load ./drift
@load ./listen
