# HL7 v2 in MLLP frames (start block 0x0b, then the MSH segment and its field separator), from either side.
signature pyad-hl7 {
	ip-proto == tcp
	payload /^\x0bMSH[|^~!#$%&*+\/:;]/
	event PyAD::speaks_hl7 "hl7"
}

# DICOM upper layer: A-ASSOCIATE-RQ, length, protocol version 1, reserved zeros (DICOM PS3.8, 9.3.2).
signature pyad-dicom {
	ip-proto == tcp
	payload /^\x01\x00[\x00-\xff]{4}\x00\x01\x00\x00[\x20-\x7e]{16}/
	event PyAD::speaks_dicom "dicom"
}
