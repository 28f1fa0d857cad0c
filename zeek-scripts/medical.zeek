##! Recognises HL7 and DICOM by what is said, on whatever port. Known to the exporter alone: conn.log's ``service`` and
##! signatures.log stay as they are.

@load ./main
@load-sigs ./medical.sig

module PyAD;

export {
	## "hl7", "dicom", or nothing.
	global extra_service: function(c: connection): string;

	## A connection began as HL7 does.
	global speaks_hl7: event(state: signature_state, msg: string, data: string);

	## A connection began as DICOM does.
	global speaks_dicom: event(state: signature_state, msg: string, data: string);
}

redef record connection += {
	## What was recognised.
	pyad_service: string &optional;
};

function extra_service(c: connection): string
	{
	return c?$pyad_service ? c$pyad_service : "";
	}

event PyAD::speaks_hl7(state: signature_state, msg: string, data: string)
	{
	if ( exporting )
		state$conn$pyad_service = "hl7";
	}

event PyAD::speaks_dicom(state: signature_state, msg: string, data: string)
	{
	if ( exporting )
		state$conn$pyad_service = "dicom";
	}
