# A bridge inside Zeek: the events it would send, with the right codes. Loaded after the package.
module Bridge;

export {
	global counter = 1000;
	global hello: function(window: count &default=32, session: string &default="s1");
	global ack: function(seq: count);
	# A line of a verdict; `change` replaces fields by their number.
	global line: function(change: table[count] of string): string;
	global verdicts: function(seq: count, lines: vector of string, change: string &default="");
	global drift: function(moved: vector of string, change: string &default="");
}

redef PyAD::secret = "0123456789abcdef";
redef PyAD::listen = F;

function code(text: string): string
	{
	return sha256_hash(PyAD::secret, sha256_hash(PyAD::secret, text));
	}

function hello(window: count, session: string)
	{
	++counter;
	local text = cat("hello\n", PyAD::row_schema, "\nall\n", session, "\n", window, "\n", counter);
	event PyAD::hello(PyAD::row_schema, "all", session, window, counter, code(text));
	}

function ack(seq: count)
	{
	local text = cat("ack\n", PyAD::row_schema, "\nzeek\n", PyAD::own_epoch, "\nall\n", seq);
	event PyAD::ack(PyAD::row_schema, "zeek", PyAD::own_epoch, "all", vector(cat(seq)), code(text));
	}

function line(change: table[count] of string): string
	{
	local f = vector("1700000000.000001", "CHhAvVGS1DHFjwGM9", "192.0.2.1", "40000", "192.0.2.9", "22", "tcp", "-",
	                 "brute_force", "new", "abc123-new-0", "abc123", "5", "Password guessing from 192.0.2.1.",
	                 "incident=abc123 state=new class=brute_force");

	for ( i, value in change )
		f[i] = value;

	return join_string_vec(f, "\t");
	}

# change: "epoch", "code", "counter" or "schema" is made wrong.
function verdicts(seq: count, lines: vector of string, change: string)
	{
	if ( change != "counter" )
		++counter;

	local epoch = change == "epoch" ? "0000000000000000" : PyAD::own_epoch;
	local schema = change == "schema" ? "0000000000000000" : PyAD::row_schema;
	local text = cat("verdicts\n", schema, "\n", epoch, "\n", counter, "\nzeek\n", PyAD::own_epoch, "\nall\n", seq);
	local right = code(text + "\n" + join_string_vec(lines, "\n"));
	event PyAD::verdicts(schema, epoch, counter, "zeek", PyAD::own_epoch, "all", seq, lines,
	                     change == "code" ? code(right) : right);
	}

function drift(moved: vector of string, change: string)
	{
	if ( change != "counter" )
		++counter;

	local epoch = change == "epoch" ? "0000000000000000" : PyAD::own_epoch;
	local text = cat("drift\n", PyAD::row_schema, "\n", epoch, "\n", counter, "\nall\n31000\n24");

	if ( |moved| > 0 )
		text += "\n" + join_string_vec(moved, "\n");

	event PyAD::drift(PyAD::row_schema, epoch, counter, "all", 31000, 24, moved,
	                  change == "code" ? code(text + "x") : code(text));
	}
