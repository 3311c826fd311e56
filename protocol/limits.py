"""Every bound of the protocol, with its unit and its reason.

Bounds that an operator may change live in the configuration; these may not change without
a new format version, because both sides of an exchange must agree on them.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# --- sealing (DECISIONS.md, "Sealing") ------------------------------------------------------
CHUNK_BYTES: Final = 64 * KIB
"""Plain bytes in one STREAM chunk: one loop step, one network frame."""
TAG_BYTES: Final = 16
"""AES-GCM tag of each chunk."""
SEGMENT_BYTES: Final = MIB
"""Sealed bytes in one leaf of the body tree: the unit of resuming and scrubbing."""
HEADER_BYTES_MAX: Final = 128 * KIB
"""Sealed header: 500 parts with long names and 1,000 recipients fit; travels in one offer."""
PARTS_MAX: Final = 500
RECIPIENTS_MAX: Final = 1_000
PART_BYTES_MAX: Final = 2**40
"""One tebibyte. A structural bound; what a node takes is its operator's choice."""

# --- statements -----------------------------------------------------------------------------
SIGNATURES_MAX: Final = 16
"""Threshold and endorsement together; the largest root has nine keys."""
SIGNATURE_BYTES_MAX: Final = 8 * KIB
"""One signature; Ed25519 needs 64 bytes, the largest post-quantum scheme in sight below 8 KiB."""
MERKLE_DEPTH_MAX: Final = 32
"""Inclusion path of a signed batch; four thousand million statements."""
STATEMENT_BYTES_MAX: Final = 64 * KIB
"""Any single signed statement; an envelope of 500 parts needs 40 KiB."""
THING_BYTES_MAX: Final = 2 * STATEMENT_BYTES_MAX
"""A statement with its signatures and their inclusion paths, as it is stored."""
CODE_CHARACTERS_MAX: Final = 35
"""Decision 20/2020."""
REASON_CHARACTERS_MAX: Final = 2_000
"""A clerk's reason or note in a receipt."""

# --- documents (Decree 30/2020 annex VI; DOMAIN §3), in characters unless said otherwise --------
TYPE_CHARACTERS_MAX: Final = 100
NUMBER_CHARACTERS_MAX: Final = 11
NOTATION_CHARACTERS_MAX: Final = 30
SUBJECT_CHARACTERS_MAX: Final = 500
POSITION_CHARACTERS_MAX: Final = 100
PERSON_CHARACTERS_MAX: Final = 50
PLACE_CHARACTERS_MAX: Final = 200
"""Place of issue and sphere; the annex gives organisation names 200."""
CONTACT_CHARACTERS_MAX: Final = 200
TO_PLACE_CHARACTERS_MAX: Final = 1_000
TO_PLACES_MAX: Final = 100
SIGNERS_MAX: Final = 50
"""Joint circulars have a handful; fifty is room for an inter-ministry plan."""
RESPONSE_FOR_MAX: Final = 100
TASK_CODES_MAX: Final = 100
TASK_CODE_CHARACTERS_MAX: Final = 100
DOCUMENT_REFERENCE_CHARACTERS_MAX: Final = 200
"""An older document's id in the spelling of whoever issued it; four formats are known."""
PAGES_MAX: Final = 1_000_000
PART_NAME_BYTES_MAX: Final = 255
"""UTF-8; what ext4, XFS and NTFS can all hold as one name."""
MEDIA_TYPE_CHARACTERS_MAX: Final = 255
IDEMPOTENCY_KEY_CHARACTERS_MAX: Final = 200
JUDGED_BY_MAX: Final = 16
"""Directory records that one refusal names: root, registrars, centre and agency of both sides."""
CHAIN_RECEIPTS_MAX: Final = 10_000
"""Receipts of one consignment in one evidence file; in the field a document has about six."""
EVIDENCE_RECORDS_MAX: Final = 2_000
"""Directory records in one evidence file; one proof needs about ten."""
EVIDENCE_BYTES_MAX: Final = 64 * MIB
"""One evidence file, read whole into memory by the verifier."""

# --- directory ------------------------------------------------------------------------------
DIRECTORY_KEYS_MAX: Final = 16
"""Keys in one list of a record: years of rotation, old ones included; as many as signatures."""
DIRECTORY_NAME_CHARACTERS_MAX: Final = 200
"""Decree 30/2020, OrganName."""
DIRECTORY_ALIASES_MAX: Final = 32
"""Former codes of a merged agency."""
DIRECTORY_SUCCESSORS_MAX: Final = 16
DIRECTORY_PARTS_MAX: Final = 64
"""Parts of the tree that one delegation names."""
DIRECTORY_VERSIONS_MAX: Final = 64
"""Newest versions of one record that are looked at when judging by the past."""
DIRECTORY_FILE_BYTES_MAX: Final = 128 * MIB
"""A file with the whole national directory: 125,000 records of about 700 bytes."""
DIRECTORY_PASSES_MAX: Final = 16
"""Rounds of an import in which things wait for what others of the same file bring; the tree is not that deep."""

# --- exchange -------------------------------------------------------------------------------
INLINE_BYTES_MAX: Final = 128 * KIB
"""Sealed parts that travel inside the offer, all of them together; larger ones are pulled."""
FRAME_BYTES_MAX: Final = 512 * KIB
"""One exchange frame: header, inline parts, envelope and proofs together stay below it."""
WINDOW_OFFERS_MAX: Final = 256
"""Offers written to a peer and not yet answered."""
WINDOW_BYTES_MAX: Final = 512 * KIB
"""Bytes of such offers; one offer may exceed it when it is alone."""
HELD_OFFERS_MAX: Final = 32
"""Offers whose bodies a peer pulls at the same time; each holds a header of up to 128 KiB there.
A sender keeps below it, a recipient answers *busy* above twice as many."""

# --- time -----------------------------------------------------------------------------------
SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
CLOCK_SKEW_MS: Final = 5 * MINUTE_MS
"""Trusted nodes' clocks agree within this (DESIGN §0)."""
SIGNED_AGE_MAX_MS: Final = 90 * DAY_MS
"""A statement older than this must be signed again (DESIGN §3)."""
EXPIRY_DEFAULT_MS: Final = 30 * DAY_MS
EXPIRY_MAX_MS: Final = 90 * DAY_MS
NODE_RECORD_VALID_MAX_MS: Final = 7 * DAY_MS
"""A node record is signed anew daily; a week bridges a long weekend."""
