@load ./main
@load ./sessions
@load ./logins
@load ./devices
