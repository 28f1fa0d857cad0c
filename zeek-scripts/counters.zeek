module PyAD;
export { global counters_of: function(c: connection): string; global extra_service: function(c: connection): string; 
 global address_changed: event(ts: time, address: addr, new_mac: string, old_mac: string);}
function counters_of(c: connection): string { return ""; }
function extra_service(c: connection): string { return ""; }
