##! Watches which link-layer address stands behind each IPv4 address: a change is how ARP spoofing begins. ARP belongs
##! to no connection, so a change is a row of its own.

@load ./main

module PyAD;

export {
	## Whether changes are looked for.
	const watch_addresses = T &redef;

	## Addresses remembered at most; the ones not heard of for longest are forgotten first.
	const max_addresses = 65536 &redef;

	## The link-layer address behind ``address`` changed.
	global address_changed: event(ts: time, address: addr, new_mac: string, old_mac: string);
}

# VLAN (0: none) and address → MAC. Two generations bound the memory without timers, and nobody can fill it for good:
# when the young one is full it becomes the old one, and what was in the old one alone is forgotten.
global young_claims: table[count, addr] of string;
global old_claims: table[count, addr] of string;
# Address → the MAC that claimed it last. Nearly every message says just that again, and is done with where there are no
# VLANs: to ask for a message's VLAN costs more than all else here. Holds no more than the young generation.
global latest_claims: table[addr] of string;
# Whether a tagged frame was seen, by whom that was cheap for.
global vlans_in_use = F;

event zeek_init()
	{
	if ( ! watch_addresses )
		disable_event_group("pyad-arp");
	}

function claims(address: addr, mac: string)
	{
	# A probe claims nothing.
	if ( ! exporting || address == 0.0.0.0 || mac == "00:00:00:00:00:00" || mac == "" )
		return;

	# The event does not say the VLAN, and an address may well be in use in two of them.
	local header = get_current_packet_header();
	local vlan = 0;

	if ( header?$l2 && header$l2?$vlan )
		{
		vlan = header$l2$vlan;
		vlans_in_use = T;
		}

	local known = "";

	if ( [vlan, address] in young_claims )
		known = young_claims[vlan, address];
	else
		{
		if ( [vlan, address] in old_claims )
			known = old_claims[vlan, address];

		if ( 2 * |young_claims| >= max_addresses )
			{
			old_claims = young_claims;
			young_claims = table();
			latest_claims = table();
			}
		}

	young_claims[vlan, address] = mac;
	latest_claims[address] = mac;

	if ( known != "" && known != mac )
		event PyAD::address_changed(network_time(), address, mac, known);
	}

event arp_request(mac_src: string, mac_dst: string, SPA: addr, SHA: string, TPA: addr, THA: string) &group="pyad-arp"
	{
	if ( vlans_in_use || SPA !in latest_claims || latest_claims[SPA] != SHA )
		claims(SPA, SHA);
	}

event arp_reply(mac_src: string, mac_dst: string, SPA: addr, SHA: string, TPA: addr, THA: string) &group="pyad-arp"
	{
	if ( vlans_in_use || SPA !in latest_claims || latest_claims[SPA] != SHA )
		claims(SPA, SHA);
	}

# Zeek calls neither a request nor a reply what claims one MAC and was sent by another: spoofing tools do that.
event bad_arp(SPA: addr, SHA: string, TPA: addr, THA: string, explanation: string) &group="pyad-arp"
	{
	if ( explanation == "weird-arp-sha" )
		claims(SPA, SHA);
	}
