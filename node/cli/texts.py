"""Everything that `truc` says, in Vietnamese and English: one table (STYLE 17).

Outcomes with a code stand in `protocol/catalogue.py` and are not repeated here. Keys that begin with
`help` and `option` are the words of a command and of its options (`option answer reason` before
`option reason`); `{name}` is filled by the caller.
"""

from __future__ import annotations

from typing import Final

from node.cli.texts_directory import DIRECTORY
from node.cli.texts_joining import JOINING
from protocol.catalogue import Language

TEXTS: Final[dict[str, tuple[str, str]]] = {
    **DIRECTORY,
    **JOINING,
    # --- frame --------------------------------------------------------------------------------
    "commands": ("Lệnh", "Commands"),
    "exit codes": ("Mã thoát", "Exit codes"),
    "exit DONE": ("xong", "done"),
    "exit REFUSED": (
        "nút từ chối, hoặc chứng cứ không hợp lệ; có mã lỗi",
        "refused by the node, or evidence not valid; with a code",
    ),
    "exit USAGE": ("dùng lệnh sai", "wrong usage"),
    "exit UNREACHABLE": ("không nối được với nút", "the node cannot be reached"),
    "exit LOCAL": (
        "có gì đó sai trên máy này: tệp, mật khẩu, cấu hình",
        "something on this machine is wrong: files, passphrase, configuration",
    ),
    "exit INTERNAL": ("lỗi của chính phần mềm", "a fault of the software itself"),
    "exit INTERRUPTED": ("bị ngắt (Ctrl-C)", "interrupted (Ctrl-C)"),
    "exit PIPE_CLOSED": ("bên đọc kết quả đã đóng", "whoever read the output is gone"),
    "usage": ("Dùng lệnh sai", "Wrong usage"),
    "usage line": ("Cách dùng:", "Usage:"),
    "options": ("Tùy chọn", "Options"),
    "arguments": ("Tham số", "Arguments"),
    "usage missing": ("thiếu {what}.", "{what} is missing."),
    "usage no command": ("không có lệnh “{name}”.", "there is no command “{name}”."),
    "usage no option": ("không có tùy chọn “{name}”.", "there is no option “{name}”."),
    "usage guess": ("Có phải “{name}”?", "Did you mean “{name}”?"),
    "usage value": ("giá trị của {what} không dùng được: {reason}", "the value of {what} cannot be used: {reason}"),
    "usage choice": ("cần một trong: {choices}.", "one of these is needed: {choices}."),
    "usage range": ("cần một số nguyên từ {least} đến {most}.", "a whole number from {least} to {most} is needed."),
    "usage next": ("Thêm --help để xem cách dùng.", "Add --help to see how it is used."),
    "interrupted": ("Đã ngắt.", "Interrupted."),
    "option help": ("Hiện phần này rồi thoát.", "Show this and exit."),
    "help truc": (
        "Nút trục liên thông văn bản: cài đặt, vận hành, gửi và nhận văn bản.",
        "A node of the document interchange axis: set up, operate, send and receive documents.",
    ),
    "option truc version": ("Hiện phiên bản rồi thoát.", "Show the version and exit."),
    "option config": (
        "Tệp cấu hình; mặc định TRUC_CONFIG, ./node.toml, /etc/truc/node.toml.",
        "Configuration file; default TRUC_CONFIG, ./node.toml, /etc/truc/node.toml.",
    ),
    "option socket": (
        "Ổ cắm Unix của nút; mặc định TRUC_SOCKET, hoặc theo cấu hình.",
        "The node's Unix socket; default TRUC_SOCKET, or as configured.",
    ),
    "option url": ("Địa chỉ HTTP của nút, thay cho ổ cắm.", "The node's HTTP address, instead of the socket."),
    "option token": ("Mã truy cập đi với --url.", "The token that goes with --url."),
    "option ca": ("Chứng thư gốc để tin --url https.", "Certificate authority to trust for --url https."),
    "option as_json": ("Kết quả cho máy đọc.", "Machine-readable output."),
    "option lang": (
        "Ngôn ngữ: vi hoặc en; mặc định theo LC_ALL, LANG.",
        "Language: vi or en; default from LC_ALL, LANG.",
    ),
    "yes": ("có", "yes"),
    "no": ("không", "no"),
    "more": ("… còn nữa: thêm --after {cursor}", "… there is more: add --after {cursor}"),
    "nothing": ("Không có gì.", "Nothing."),
    # --- init, run, keys ----------------------------------------------------------------------
    "help init": (
        "Tạo một nút mới: thư mục dữ liệu, kho khóa, cấu hình, yêu cầu đăng ký. Không ghi đè gì.",
        "Make a new node: data folder, keystore, configuration, request to be registered. Writes over nothing.",
    ),
    "option init folder": (
        "Thư mục của nút; mặc định: thư mục hiện tại.",
        "The node's folder; default: the current one.",
    ),
    "option init centre": ("Mã trung tâm, như 00.22.W00.", "The centre code, like 00.22.W00."),
    "option init name": ("Tên trung tâm.", "The centre's name."),
    "option init name_en": ("Tên tiếng Anh.", "Its name in English."),
    "option init root_digest": (
        "Vân tay bộ khóa gốc, nếu đã biết.",
        "Digest of the root key set, if it is known already.",
    ),
    "option init listen": ("Nơi nhận kết nối của các nút khác.", "Where other nodes connect."),
    "option init announce": ("Địa chỉ công bố cho các nút khác.", "Addresses announced to other nodes."),
    "option init tcp": ("Cổng HTTP trên máy này; rỗng: tắt.", "HTTP port on this machine; empty: off."),
    "option init passphrase_file": (
        "Tệp chứa mật khẩu kho khóa (dòng đầu, quyền 0400); ghi vào cấu hình.",
        "File with the keystore's passphrase (first line, mode 0400); goes into the configuration.",
    ),
    "option init make_passphrase": (
        "Tự tạo mật khẩu ngẫu nhiên vào tệp “passphrase”.",
        "Make a random passphrase in the file “passphrase”.",
    ),
    "one passphrase": (
        "chỉ một trong --passphrase-file và --make-passphrase",
        "only one of --passphrase-file and --make-passphrase",
    ),
    "init made": (
        (
            "Đã tạo nút của trung tâm {centre}.\n  cấu hình   {config}\n  dữ liệu    {data}\n"
            "  yêu cầu    {request}\n  peer id    {peer_id}"
        ),
        (
            "Made the node of centre {centre}.\n  configuration  {config}\n  data           {data}\n"
            "  request        {request}\n  peer id        {peer_id}"
        ),
    ),
    "init next": (
        (
            "Các bước tiếp theo:\n"
            "  1. Sao lưu khóa ngay:        truc --config {config} keys backup TỆP\n"
            "  2. Gửi {request} cho cơ quan đăng ký; nhận lại tệp danh bạ và root_digest.\n"
            "  3. Ghi root_digest vào {config}, rồi chạy nút:  truc --config {config} run\n"
            "  4. Nạp danh bạ:              truc --config {config} directory import TỆP\n"
            "  5. Kiểm tra:                 truc --config {config} doctor"
        ),
        (
            "What to do next:\n"
            "  1. Back the keys up now:     truc --config {config} keys backup FILE\n"
            "  2. Send {request} to the registrar; it returns a directory file and root_digest.\n"
            "  3. Put root_digest into {config}, then run the node:  truc --config {config} run\n"
            "  4. Load the directory:       truc --config {config} directory import FILE\n"
            "  5. Check:                    truc --config {config} doctor"
        ),
    ),
    "help run": (
        "Chạy nút cho đến khi nhận SIGTERM hoặc Ctrl-C. Nhật ký ra stderr, mỗi dòng một sự kiện JSON.",
        "Run the node until SIGTERM or Ctrl-C. The log goes to standard error, one JSON event per line.",
    ),
    "help keys": ("Sao lưu và khôi phục khóa của nút.", "Back up and restore the node's keys."),
    "help keys backup": (
        "Ghi mọi khóa vào một tệp mã hoá bằng mật khẩu riêng. Cất tệp này ngoài máy.",
        "Write all keys into one file, encrypted under a passphrase of its own. Keep it off this machine.",
    ),
    "help keys restore": (
        "Tạo lại kho khóa từ bản sao lưu, trong thư mục chưa có kho khóa.",
        "Make the keystore again from a backup, in a folder that has none.",
    ),
    "option passphrase_file": ("Tệp chứa mật khẩu kho khóa.", "File with the keystore's passphrase."),
    "help keys request": (
        "Lập yêu cầu đăng ký với khóa hiện có; khóa ở tiến trình ký: cho phép nó ký truc/centre-request/1.",
        "Make a request with the present keys; a signer process has to be allowed to sign truc/centre-request/1.",
    ),
    "option keys request name": ("Tên trung tâm.", "The centre's name."),
    "option keys request name_en": ("Tên tiếng Anh.", "Its name in English."),
    "keys requested": (
        "Yêu cầu: {path}, mã khóa {key_id}. Giao cho cơ quan đăng ký, đọc mã khóa: truc authority centre {path}",
        "Request: {path}, key id {key_id}. Hand it to the registrar, read the id aloud: truc authority centre {path}",
    ),
    "option backup_passphrase_file": ("Tệp chứa mật khẩu của bản sao lưu.", "File with the backup's passphrase."),
    "passphrase": ("Mật khẩu kho khóa", "Passphrase of the keystore"),
    "passphrase backup": ("Mật khẩu của bản sao lưu", "Passphrase of the backup"),
    "passphrase again": ("Nhập lại", "Once more"),
    "keys backed up": (
        "Đã sao lưu {count} khóa vào {path}. Cất tệp này và mật khẩu của nó ở hai nơi khác nhau, ngoài máy.",
        "Backed up {count} keys into {path}. Keep the file and its passphrase in two places off this machine.",
    ),
    "keys restored": ("Đã khôi phục {count} khóa vào {path}.", "Restored {count} keys into {path}."),
    # --- node, peers, directory, doctor -------------------------------------------------------
    "help authority": ("Lập và ký bản ghi danh bạ, không cần mạng.", "Make and sign directory records, off-line."),
    "help node": ("Nút này là ai, đang ở đâu.", "Who this node is and how far it has come."),
    "help peers": (
        "Các nút khác: đã nối, đang gọi, hay mất liên lạc, vì sao chưa lấy được danh bạ; ai không được cho vào.",
        "The other nodes: connected, dialled, or silent; why a directory does not come; who was not let in.",
    ),
    "help directory": ("Danh bạ cơ quan.", "The directory of agencies."),
    "help directory list": ("Mọi cơ quan, theo mã.", "All agencies, by code."),
    "help directory search": ("Tìm theo mã hoặc tên.", "Search by code or name."),
    "help directory show": ("Một cơ quan, theo mã hoặc mã cũ.", "One agency, by its code or an alias."),
    "help directory lint": (
        "Kiểm tra một tệp danh bạ, không cần mạng.", "Look for mistakes in a directory file, off-line.",
    ),
    "option directory lint root_digest": (
        "Mã băm của gốc được tin; mặc định: gốc đầu tiên trong tệp.",
        "The trusted root; default: the first one in the file.",
    ),
    "lint flaw": ("{grade} {about}: {code}: {text}", "{grade} {about}: {code}: {text}"),
    "lint fault": ("LỖI", "FAULT"),
    "lint warning": ("LƯU Ý", "NOTE"),
    "lint pending": ("CHỜ", "PENDING"),
    "lint clean": ("{valid} bản ghi hợp lệ, không có lỗi.", "{valid} things are valid; no fault."),
    "lint faulty": ("{valid} bản ghi hợp lệ; {flaws} điều cần xem.", "{valid} things are valid; {flaws} findings."),
    "help directory import": ("Nạp tệp danh bạ đã ký (.truc).", "Load a signed directory file (.truc)."),
    "help doctor": (
        "Khám nút: cấu hình, khóa, đĩa, đồng hồ, các nút khác. Mã thoát 1 nếu có gì đỏ.",
        "Examine the node: configuration, keys, disk, clock, other nodes. Exit code 1 if anything is red.",
    ),
    "option after": ("Bắt đầu sau vị trí này.", "Start behind this cursor."),
    "option limit": ("Nhiều nhất bấy nhiêu dòng.", "So many lines at most."),
    "imported": (
        "Đã nạp {accepted} bản ghi mới, {checkpoints} điểm chốt mới; {known} đã có.",
        "Loaded {accepted} new records and {checkpoints} checkpoints; {known} were known.",
    ),
    "imported pending": (
        "ĐANG CHỜ: {about} – có hiệu lực khi bên đang giữ xác nhận hoặc sau 24 giờ: truc directory show {code}",
        "PENDING: {about} – counts when whoever holds it endorses it, or after 24 hours: truc directory show {code}",
    ),
    "older": (
        "Không nạp {things} mục thuộc đợt {generation} của {registrar}: đợt đó đã đóng, đợt {open} đang mở.",
        "{things} things of generation {generation} of {registrar} were left out: it is over, {open} is open.",
    ),
    "not imported": ("Không nhận {about}: {code}: {text}", "Not accepted: {about}: {code}: {text}"),
    "peer up": ("đã nối", "connected"),
    "peer connected": ("đang chào", "saying hello"),
    "peer dialling": ("đang gọi", "dialling"),
    "peer down": ("mất liên lạc", "silent"),
    "peer new": ("chưa gọi", "not dialled yet"),
    "peer waiting": ("chờ", "waiting"),
    "reason ECONNREFUSED": ("ở địa chỉ đó không có nút nào nhận kết nối", "nothing listens at its address"),
    "reason EHOSTUNREACH": ("không có đường tới địa chỉ đó", "there is no route to its address"),
    "reason ENETUNREACH": ("không có đường tới địa chỉ đó", "there is no route to its address"),
    "reason ETIMEDOUT": ("địa chỉ đó không trả lời; xem tường lửa", "its address does not answer; see the firewall"),
    "reason silent": ("địa chỉ đó không trả lời; xem tường lửa", "its address does not answer; see the firewall"),
    "reason hung up": ("bên kia ngắt; có thể chưa nhận nút này", "it hung up; perhaps it does not admit this node yet"),
    "reason not admitted": ("danh bạ không nêu peer id này", "the directory does not name this peer id"),
    "agency active": ("hoạt động", "active"),
    "agency locked": ("tạm khóa", "locked"),
    "agency closed": ("đã đóng", "closed"),
    "doctor green": ("Nút khỏe.", "The node is well."),
    "doctor red": ("Có việc phải làm.", "There is something to do."),
    "doctor answers": ("nút trả lời", "node answers"),
    "doctor configuration": ("cấu hình", "configuration"),
    "doctor root": ("tham gia mạng", "joined"),
    "doctor keys": ("sao lưu khóa", "key backup"),
    "doctor disk": ("đĩa", "disk"),
    "doctor ready": ("sẵn sàng", "ready"),
    "doctor clock": ("đồng hồ", "clock"),
    "doctor peers": ("các nút khác", "other nodes"),
    "doctor says fine": ("{value}", "{value}"),
    "doctor says ready": ("có", "yes"),
    "doctor says no root": (
        "chưa có root_digest của {value}; ghi vào cấu hình rồi khởi động lại",
        "no root_digest for {value} yet; put it into the configuration and restart",
    ),
    "doctor says no keys": (
        "không có kho khóa ở {value}; chạy “truc init” hoặc “truc keys restore”",
        "no keystore at {value}; run “truc init” or “truc keys restore”",
    ),
    "doctor says no backup": (
        "chưa sao lưu; mất ổ đĩa là mất khóa: truc keys backup TỆP",
        "not done; if the disk is lost, the keys are lost: truc keys backup FILE",
    ),
    "doctor says backup old": (
        "kho khóa đã đổi từ lần sao lưu trước: truc keys backup TỆP",
        "the keystore has changed since the last backup: truc keys backup FILE",
    ),
    "doctor says backed up": ("đã sao lưu", "done"),
    "doctor says not readable": ("không xem được: {value}", "cannot be looked at: {value}"),
    "doctor says disk": ("còn trống {value}, mức dự phòng {floor}", "{value} free, the reserve is {floor}"),
    "doctor says clock 0": (
        "hệ thống không nói đồng hồ có đồng bộ hay không",
        "the system does not say whether the clock is synchronised",
    ),
    "doctor says clock 1": ("đồng bộ", "synchronised"),
    "doctor says clock 2": ("đồng bộ, khớp với các nút khác", "synchronised, and other nodes agree"),
    "doctor says peers": ("{value} trên {count} đã nối", "{value} of {count} connected"),
    # --- documents ----------------------------------------------------------------------------
    "help send": (
        "Gửi một văn bản với các tệp. Chạy lại cùng một lệnh không gửi hai lần.",
        "Send a document with its files. Repeating the same command does not send twice.",
    ),
    "option send issuer": ("Cơ quan gửi.", "The issuing agency."),
    "option send recipients": ("Cơ quan nhận; lặp lại cho mỗi nơi.", "A receiving agency; repeat for each."),
    "option send type": ("Loại văn bản: Công văn, Quyết định, …", "Type of document: Công văn, Quyết định, …"),
    "option send subject": ("Trích yếu.", "Subject."),
    "option send secrecy": (
        "Độ mật; bắt buộc ghi “none”: bí mật nhà nước không đi qua trục.",
        "Secrecy; “none” must be said: state secrets do not enter the axis.",
    ),
    "option send number": ("Số.", "Number."),
    "option send notation": ("Ký hiệu.", "Notation."),
    "option send issued_on": ("Ngày ban hành, yyyy-mm-dd.", "Date of issue, yyyy-mm-dd."),
    "option send place": ("Nơi ban hành.", "Place of issue."),
    "option send due_on": ("Hạn trả lời, yyyy-mm-dd.", "Due date, yyyy-mm-dd."),
    "option send sphere": ("Lĩnh vực.", "Sphere."),
    "option send pages": ("Số trang.", "Number of pages."),
    "option send copies": ("Số bản.", "Number of copies."),
    "option send signer": (
        "Người ký: “tên; chức vụ; thẩm quyền”; lặp lại được.",
        "Signer: “name; position; competence”; repeatable.",
    ),
    "option send metadata": ("Tệp JSON với siêu dữ liệu đầy đủ.", "JSON file with full metadata."),
    "option send lane": ("Mức khẩn.", "Urgency."),
    "option send expires_days": ("Thôi gửi sau bấy nhiêu ngày.", "Give up after so many days."),
    "option send reuse_reason": (
        "Lý do dùng lại số của một văn bản khác.",
        "Reason for using the number of another document again.",
    ),
    "option key": (
        "Khóa chống gửi lặp; mặc định tính từ nội dung.",
        "Idempotency key; default: derived from the content.",
    ),
    "send progress": ("gửi {name}", "sending {name}"),
    "sent": (
        "Nút đã nhận văn bản {document} gửi {recipients} ({files} tệp).",
        "The node owns document {document} to {recipients} ({files} files).",
    ),
    "sent next": ("Theo dõi: truc show {document}", "Follow it: truc show {document}"),
    "help outbox": ("Văn bản đã gửi.", "Documents sent."),
    "help outbox list": ("Văn bản đã gửi, theo thứ tự gửi.", "Documents sent, in order."),
    "help inbox": ("Văn bản đến.", "Documents received."),
    "help inbox list": (
        "Văn bản đến mà phần mềm chưa nhận; --all: tất cả.",
        "Arrivals not collected yet; --all: all of them.",
    ),
    "option agency": ("Chỉ cơ quan này.", "Only this agency."),
    "option everything": ("Cả những văn bản đã nhận.", "Collected ones too."),
    "option wait": ("Chờ văn bản đầu tiên bấy nhiêu giây.", "Wait so many seconds for the first arrival."),
    "help show": ("Một văn bản đã gửi (doc_…) hoặc đến (csg_…).", "One document sent (doc_…) or received (csg_…)."),
    "help fetch": (
        "Lấy mọi tệp của một văn bản đến, so mã băm. Không ghi đè tệp nào.",
        "Fetch all files of a received document and compare checksums. Writes over nothing.",
    ),
    "option fetch out": ("Thư mục nhận tệp.", "Folder for the files."),
    "option fetch collect": ("Rồi báo cho bên gửi là đã nhận.", "Then tell the issuer that it was collected."),
    "fetch progress": ("nhận {name}", "fetching {name}"),
    "fetch file": ("{path}  sha256 {sha256}  đúng", "{path}  sha256 {sha256}  right"),
    "fetch there": ("{path}  sha256 {sha256}  đã có", "{path}  sha256 {sha256}  was there already"),
    "fetch collected": ("Đã báo nhận {consignment}.", "Collected {consignment}."),
    "fetch not collected": (
        "Chưa báo nhận; khi đã cất giữ xong: truc fetch {consignment} --out … --collect",
        "Not collected yet; when it is safely stored: truc fetch {consignment} --out … --collect",
    ),
    "help answer": (
        "Trả lời bằng trạng thái: 2 trả lại (có lý do), 3 tiếp nhận, 4 chuyển xử lý, 5 đang xử lý, 6 hoàn thành.",
        "Answer with a status: 2 returned (with a reason), 3 accepted, 4 assigned, 5 in progress, 6 finished.",
    ),
    "option answer reason": ("Lý do.", "The reason."),
    "option answer staff_name": ("Người xử lý.", "Who handles it."),
    "option answer staff_position": ("Chức vụ của người xử lý.", "That person's position."),
    "answered": ("Đã ghi trạng thái {status} cho {consignment}.", "Recorded status {status} for {consignment}."),
    "flag out_of_order": ("ngoài trình tự", "out of order"),
    "flag repeated": ("lặp lại", "repeated"),
    "help trace": (
        "Dòng thời gian của một văn bản, với các biên nhận đã kiểm chữ ký.",
        "The timeline of a document, with verified receipts.",
    ),
    "lane thuong": ("thường", "normal"),
    "lane khan": ("khẩn", "urgent"),
    "lane thuong_khan": ("thượng khẩn", "very urgent"),
    "lane hoa_toc": ("hỏa tốc", "express"),
    "state queued": ("chờ gửi", "queued"),
    "state offered": ("đang gửi", "offered"),
    "state arrived": ("đã đến", "arrived"),
    "state collected": ("đã nhận", "collected"),
    "state answered": ("đã trả lời", "answered"),
    "state refused": ("bị từ chối", "refused"),
    "state recipient_closed": ("cơ quan nhận đã đóng", "recipient closed"),
    "state expired_unsent": ("hết hạn, chưa gửi được", "expired, never sent"),
    "state expired_unconfirmed": ("hết hạn, chưa rõ đã đến chưa", "expired, perhaps arrived"),
    "state cancelled": ("đã hủy", "cancelled"),
    "state receiving": ("đang đến", "receiving"),
    "state recalled": ("đã lấy lại", "recalled"),
    "state destroyed": ("đã hủy nội dung", "content destroyed"),
    # --- evidence, access, audit --------------------------------------------------------------
    "help evidence": ("Chứng cứ của một lần gửi.", "Proof of a delivery."),
    "help evidence export": (
        "Ghi chứng cứ (chữ ký, chuỗi biên nhận, bản ghi danh bạ) vào một tệp.",
        "Write the proof (signatures, chain of receipts, directory records) into one file.",
    ),
    "help evidence verify": (
        "Kiểm tra tệp chứng cứ mà không cần nút nào; chỉ tin vân tay gốc.",
        "Verify a proof without any node; only the root digest is trusted.",
    ),
    "option evidence export out": ("Tệp kết quả.", "The file to write."),
    "option evidence verify root": (
        "Vân tay bộ khóa gốc, 64 chữ số hex.",
        "Digest of the root key set, 64 hex digits.",
    ),
    "bad digest": ("cần 64 chữ số hex", "64 hex digits are needed"),
    "evidence written": ("Đã ghi chứng cứ vào {path}.", "Wrote the proof into {path}."),
    "help access": (
        "Phần mềm nào được dùng nút, cho cơ quan nào.",
        "Which software may use the node, for which agencies.",
    ),
    "help access add": (
        "Cho một phần mềm quyền truy cập; mã chỉ hiện một lần.",
        "Give a system access; the token is shown once.",
    ),
    "help access list": ("Các phần mềm có quyền.", "The systems that have access."),
    "help access revoke": ("Thu hồi quyền của một phần mềm, ngay lập tức.", "Take a system's access away, at once."),
    "option access add agencies": ("Cơ quan được thay mặt; lặp lại được.", "An agency it acts for; repeatable."),
    "option access add rights": ("Quyền; lặp lại được.", "A right; repeatable."),
    "access made": ("Phần mềm “{name}” là {system}. Mã truy cập:", "The system “{name}” is {system}. Its token:"),
    "access once": (
        "Cất mã này ngay: nút chỉ giữ dấu vân tay của nó.",
        "Keep it now: the node only has its fingerprint.",
    ),
    "access revoked": ("Đã thu hồi {system}.", "Revoked {system}."),
    "help audit": ("Ai đã thay đổi gì trên nút này.", "Who changed what on this node."),
    "box outbox": ("đi", "out"),
    "box inbox": ("đến", "in"),
    "directory green": ("mới trong ngày", "up to date today"),
    "directory known": ("chưa quá 30 ngày", "not older than 30 days"),
    "directory old": ("CŨ, chưa rõ còn đúng", "OLD, perhaps no longer right"),
    "directory being read": ("đang đọc", "being read"),
    "directory alarm": ("CẢNH BÁO danh bạ, {about}: {text}", "Directory ALARM, {about}: {text}"),
    "verified": ("đúng", "verified"),
    "not verified": ("KHÔNG KIỂM ĐƯỢC", "NOT VERIFIED"),
    "state submitted": ("nút đã nhận", "owned by the node"),
    "state waiting": ("chờ", "waiting"),
    # --- columns ------------------------------------------------------------------------------
    "column addresses": ("địa chỉ", "addresses"),
    "column box": ("hộp", "box"),
    "column clock": ("đồng hồ", "clock"),
    "column commit": ("lần ghi", "commit"),
    "column other side": ("bên kia", "other side"),
    "column peers": ("các nút khác", "peers"),
    "column queued": ("chờ gửi", "queued"),
    "column read-only": ("chỉ đọc", "read-only"),
    "column root": ("gốc tin cậy", "root"),
    "column signature": ("chữ ký", "signature"),
    "column signers": ("khóa ở ngoài", "keys outside"),
    "signer answers": ("đang trả lời", "answers"),
    "signer of the centre": ("trung tâm", "centre"),
    "signer serves also": ("còn giữ", "also serves"),
    "column uptime": ("chạy được", "uptime"),
    "column directory": ("danh bạ", "directory"),
    "column level peers": ("nút cùng danh bạ", "peers with the same directory"),
    "column version": ("phiên bản", "version"),
    "column what": ("việc", "what"),
    "column actor": ("ai", "who"),
    "column agencies": ("cơ quan", "agencies"),
    "column agency": ("cơ quan", "agency"),
    "column aliases": ("mã khác", "aliases"),
    "column arrived": ("đến lúc", "arrived"),
    "column centre": ("trung tâm", "centre"),
    "column code": ("mã", "code"),
    "column created": ("tạo lúc", "created"),
    "column decision": ("quyết định", "decision"),
    "column due on": ("hạn trả lời", "due on"),
    "column epoch": ("kỳ lưu trữ", "hosting epoch"),
    "column expires": ("hết hạn lúc", "expires"),
    "column file": ("tệp", "file"),
    "column host": ("nơi lưu trữ", "host"),
    "column id": ("mã", "id"),
    "column issued on": ("ngày ban hành", "issued on"),
    "column issuer": ("bên gửi", "issuer"),
    "column kind": ("loại", "kind"),
    "column lane": ("mức khẩn", "urgency"),
    "column media type": ("kiểu", "media type"),
    "column name": ("tên", "name"),
    "column number": ("số, ký hiệu", "number"),
    "column operation": ("việc", "operation"),
    "column parent": ("cấp trên", "parent"),
    "column peer id": ("peer id", "peer id"),
    "column reason": ("lý do", "reason"),
    "column recipient": ("bên nhận", "recipient"),
    "column recipients": ("nơi nhận", "recipients"),
    "column revoked": ("thu hồi lúc", "revoked"),
    "column rights": ("quyền", "rights"),
    "column sha256": ("sha256", "sha256"),
    "column size": ("cỡ", "size"),
    "column state": ("trạng thái", "state"),
    "column subject": ("trích yếu", "subject"),
    "column successors": ("kế thừa", "successors"),
    "column system": ("phần mềm", "system"),
    "column time": ("lúc", "time"),
    "column type": ("loại văn bản", "type"),
}
"""Key → Vietnamese, English."""


def say(key: str, language: Language, **values: object) -> str:
    """A text with its values filled in."""
    vi, en = TEXTS[key]
    template = vi if language == "vi" else en
    return template.format(**values) if values else template
