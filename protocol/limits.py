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
DIRECTORY_DUE_MAX: Final = 256
"""Pending versions that one step brings into force: about 50 ms of signature checks."""
HOSTING_EPOCH_STEP_MAX: Final = 1_000
"""A larger jump of the hosting epoch needs an endorsement: nobody may use up all epochs quietly."""
DIRECTORY_FILE_BYTES_MAX: Final = 128 * MIB
"""A file with the whole national directory: 125,000 records of about 700 bytes."""
DIRECTORY_PASSES_MAX: Final = 16
"""Rounds of an import in which things wait for what others of the same file bring; the tree is not that deep."""
DIRECTORY_WIRE_BYTES_MAX: Final = 2 * STATEMENT_BYTES_MAX
"""A directory statement with its signatures."""
HEARTBEAT_KEYS_MAX: Final = 4
"""Keys that one checkpoint lets repeat it: two machines, and their successors during a rotation."""
CUSTODY_KEYS_MAX: Final = 9
"""Keys in one request of a custodian; as many as a role gets: old ones stay beside them within the 16 of a root."""

# --- national PKI (spec/pki.md) ---------------------------------------------------------------
PKI_BYTES_MAX: Final = 8 * KIB
"""Credentials in a record: a certificate has about 2 KiB; every node keeps a copy of all of them."""
CERTIFICATE_BYTES_MAX: Final = 4 * KIB
CERTIFICATES_MAX: Final = 4
"""The holder's, and what leads to an anchor; the national tree has three levels."""
PKI_PROOFS_MAX: Final = 4
"""Endorsed keys at a time: two during a rotation, and room for two machines."""
ENDORSEMENT_BYTES_MAX: Final = 512
CERTIFICATE_PATH_MAX: Final = 5
"""Certificates above the holder's."""
RSA_BITS_MIN: Final = 2_048
RSA_BITS_MAX: Final = 8_192
"""A verification costs the square of it: 0.3 ms at this size."""
CRL_BYTES_MAX: Final = 16 * MIB
"""One revocation list: about 400,000 entries."""
PKI_FILES_MAX: Final = 64
"""Files of anchors, intermediates or lists."""

# --- signing by another process (spec/signer.md) ----------------------------------------------
SIGNER_FRAME_BYTES_MAX: Final = 4 * KIB
"""Sixteen keys in a hello need 1 KiB."""
SIGNER_TEXT_BYTES_MAX: Final = 512
"""Format name, algorithm, key id and root: about 120 bytes."""

# --- reconciliation (spec/reconcile.md) -------------------------------------------------------
RECONCILE_QUESTION_BYTES_MAX: Final = 64 * KIB
"""One question or introduction, frame type included; 1,000 digests need 34 KiB."""
RECONCILE_FRAME_BYTES_MAX: Final = 288 * KIB
"""One answer, frame type included: a fork proof with two of the largest things, alone in its frame."""
RECONCILE_FILL_BYTES: Final = 64 * KIB
"""To which answers are filled: about 90 records, a millisecond of reading; what is larger goes alone."""
RECONCILE_HEAP_BYTES: Final = 2 * MIB
"""Things of one log that are judged together: about 2,800 records, so that workers can read them ahead."""
RECONCILE_LOGS_MAX: Final = 16_384
"""Registrars with a log of their own; four levels of delegation in 95 bodies stay far below."""
RECONCILE_LOGS_FRAME: Final = 256
"""Heads in one frame: a millisecond of encoding."""
RECONCILE_LOGS_SLICE: Final = 32
"""Logs that are looked at between two pauses: whether anything of one could be believed costs some reads."""
RECONCILE_PREFIXES_MAX: Final = 256
"""Prefixes in one question about a tree."""
RECONCILE_NODES_FRAME: Final = 16
"""Tree nodes in one frame: a millisecond of hashing in buckets."""
RECONCILE_FETCH_MAX: Final = 1_000
"""Digests in one question."""
RECONCILE_ANSWER_FRAMES_MAX: Final = 64
"""Frames of one answer about a log or the roots, 4 MiB; then the asking side asks on."""
RECONCILE_BYTES_MAX: Final = 1024 * MIB
"""Bytes that one session brings or gives; a nation's directory is a tenth of it."""
RECONCILE_THINGS_MAX: Final = 2_000_000
"""Things that one session brings; a nation's directory has 125,000 records."""
RECONCILE_QUESTIONS_MAX: Final = 65_536
"""Questions in one session; 125,000 records that all differ need about a thousand."""
RECONCILE_JUNK_MAX: Final = 100
"""Things bad in themselves, or shown in the loose set and not given, that one session forgives."""
RECONCILE_UNTAKEN_MAX: Final = 10_000
"""Things that could not be taken for whatever reason; then a session stops, and nobody is blamed."""
RECONCILE_COPIES_MAX: Final = 20_000
"""Further copies of waiting things that one session asks for: a night in which every commune moves, and its aside."""
RECONCILE_RESTARTS_MAX: Final = 4
"""How often one descent begins again because the other side's tree changed meanwhile."""
RECONCILE_STREAMS_MAX: Final = 2
"""Streams of one peer that are answered at once: an old one that dies, and its successor."""
RECONCILE_SESSIONS_HOUR_MAX: Final = 30
"""Sessions of one peer in an hour beyond the first; pings and gossip make more needless."""
INTRODUCTIONS_MAX: Final = 16
"""Introductions of strangers at the same time."""
INTRODUCTION_THINGS_MAX: Final = 32
"""Roots and records in one introduction: years of root rotations; judging them takes some 30 ms."""
INTRODUCTION_CENTRES_MAX: Final = 8
"""Versions of its own record that a node introduces itself with: who lacks more was away for years."""
INTRODUCTIONS_VAIN_MAX: Final = 16
"""Introductions that led nowhere, of one network address, before it has to wait."""
INTRODUCTION_AGAIN_MS: Final = 4_000
"""After so long such an address may introduce itself once more: its judging costs us 1 % of the time."""
STRANGER_STREAMS_MAX: Final = 4
"""Streams of somebody not admitted: the introduction, and what other libraries open by themselves."""
STRANGER_BYTES_MAX: Final = 128 * KIB
"""Received from somebody not admitted and not yet read: twice an introduction."""

# --- joining (spec/joining.md) ----------------------------------------------------------------
ANCHOR_BYTES_MAX: Final = 8 * KIB
"""An anchor file; sixteen contacts with two addresses each need 4 KiB, and it is to be mailed as text."""
ANCHOR_CONTACTS_MAX: Final = 16
ANCHOR_ADDRESSES_MAX: Final = 4

# --- announcements (spec/announcement.md) -----------------------------------------------------
ANNOUNCEMENT_BYTES_MAX: Final = 64 * KIB
"""One announcement: about 90 records and a millisecond of reading, one message of the connection; what is
larger than 1 MiB some implementations lose without a word."""
ANNOUNCED_THINGS_MAX: Final = 64
"""Things in one announcement: about 20 ms of judging."""
ANNOUNCED_LOGS_MAX: Final = 64
"""Logs in one announcement; each thing belongs to one at most."""
ANNOUNCEMENTS_ROW_MAX: Final = 16
"""Announcements in a row: 1,000 records; more of them come faster by comparing."""

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
PENDING_MS: Final = DAY_MS
"""How long a change of keys or host that nobody endorsed stays pending: a working day to notice the alarm."""
CLOSED_ADMITTED_MS: Final = 400 * DAY_MS
"""A closed centre stays admitted: 90 days that a document may live, a year of late statuses (spec/joining.md §3)."""
JOINING_MS: Final = HOUR_MS
"""While a code is known for less than this, a pending day runs from the version's date: a node that
joins takes in the log within minutes, and is to arrive where the others are."""
NODE_RECORD_VALID_MAX_MS: Final = 7 * DAY_MS
"""A node record is signed anew daily; a week bridges a long weekend."""
FRESH_MS: Final = DAY_MS
"""A registrar's log younger than this is green: heartbeats come daily."""
KNOWN_MS: Final = 30 * DAY_MS
"""Up to this age of a log everything known flows without a warning (GOALS D4)."""
RECONCILE_ANSWER_MS: Final = 10 * SECOND_MS
"""From a question to the first frame of its answer, and from frame to frame."""
RECONCILE_SESSION_MS: Final = 10 * MINUTE_MS
"""One session of asking; a nation's directory takes less than one minute, and what is left waits for the next."""
RECONCILE_STALL_MS: Final = 60 * SECOND_MS
"""An answering stream on which nothing is asked or taken for so long is closed."""
ANNOUNCED_AGE_MAX_MS: Final = 10 * MINUTE_MS
"""Older announcements are repetitions, and older things are known to whoever pings."""
INTRODUCTION_MS: Final = 5 * SECOND_MS
"""A stranger has this long for his introduction."""
