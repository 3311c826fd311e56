"""Words of `truc join` and `truc anchor`; part of the one table (`texts.py`)."""

from __future__ import annotations

from typing import Final

JOINING: Final[dict[str, tuple[str, str]]] = {
    "help join": (
        (
            "Tham gia mạng bằng mốc tin cậy ANCHOR (tệp, hoặc dòng truc-anchor:…). "
            "Lập nút nếu chưa có, ghi cấu hình, lấy danh bạ, nói việc còn thiếu. Chạy lại lúc nào cũng được."
        ),
        (
            "Join a network by an ANCHOR (a file, or a line truc-anchor:…). "
            "Makes the node if there is none, writes the configuration, fetches the directory, says what is missing. "
            "May be repeated at any time."
        ),
    ),
    "option join folder": ("Thư mục của nút.", "The node's folder."),
    "option join centre": ("Mã trung tâm, khi lập nút mới.", "Centre code, for a new node."),
    "option join name": (
        "Tên trung tâm bằng tiếng Việt, khi lập nút mới.",
        "The centre's Vietnamese name, for a new node.",
    ),
    "option join name_en": ("Tên tiếng Anh.", "English name."),
    "option join listen": ("Nơi nhận kết nối từ các nút khác; lặp lại được.", "Where other nodes connect; repeatable."),
    "option join announce": (
        "Địa chỉ công bố cho các nút khác; lặp lại được.",
        "Addresses told to other nodes; repeatable.",
    ),
    "option join tcp": ("API trên máy này; rỗng: tắt.", "API on this machine; empty: off."),
    "option join passphrase_file": (
        "Tệp chứa mật khẩu kho khóa (dòng đầu, quyền 0400); nút mới ghi vào cấu hình.",
        "File with the keystore's passphrase (first line, mode 0400); of a new node it goes into the configuration.",
    ),
    "option join make_passphrase": (
        "Tự tạo mật khẩu ngẫu nhiên vào tệp “passphrase”.",
        "Make a random passphrase in the file “passphrase”.",
    ),
    "option join records": (
        "Tệp danh bạ do cơ quan đăng ký trả lại, nếu đã có: nút tự giới thiệu bằng tệp này.",
        "The registrar's answer, if it is there already: the node introduces itself with it.",
    ),
    "option join wait": (
        "Hỏi các nút trong bao nhiêu giây; 0: không hỏi.",
        "Ask the nodes for so many seconds; 0: do not ask.",
    ),
    "option join verbose": ("Ghi nhật ký ra stderr.", "Write the log to standard error."),
    "join needs centre": (
        "ở đây chưa có nút: thêm --centre và --name (và --make-passphrase hoặc --passphrase-file)",
        "there is no node here yet: add --centre and --name (and --make-passphrase or --passphrase-file)",
    ),
    "join asks": (
        "Đang hỏi các nút của mốc tin cậy (tối đa {seconds} giây) …",
        "Asking the nodes of the anchor (at most {seconds} s) …",
    ),
    "join made": (
        (
            "Trung tâm {centre}: cấu hình {config} đã sẵn sàng.\n"
            "  root_digest  {root_digest}\n  (so với vân tay đã công bố!)"
        ),
        (
            "Centre {centre}: the configuration {config} is ready.\n"
            "  root_digest  {root_digest}\n  (compare it with the published one!)"
        ),
    ),
    "join known": (
        "Trung tâm {centre}: cấu hình {config} đã có mốc tin cậy này.\n  root_digest  {root_digest}",
        "Centre {centre}: the configuration {config} has this anchor already.\n  root_digest  {root_digest}",
    ),
    "join contact": ("  nút {centre}: {state}", "  node {centre}: {state}"),
    "join not known there": ("đã trả lời: chưa có bản ghi của nút này", "answered: it has no record of this node yet"),
    "join directory": ("Danh bạ: {records} mục đã ký.", "Directory: {records} signed entries."),
    "join registered": (
        "Đã đăng ký: danh bạ có bản ghi của nút này.",
        "Registered: the directory has this node's record.",
    ),
    "join unregistered": (
        "Chưa đăng ký: danh bạ chưa có bản ghi của nút này.",
        "Not registered: no record of this node is known.",
    ),
    "join next": ("Việc tiếp theo:", "What to do next:"),
    "join step": ("  {number}. {text}", "  {number}. {text}"),
    "join step key_backup": (
        "Sao lưu khóa ngay: truc --config {config} keys backup TỆP",
        "Back the keys up now: truc --config {config} keys backup FILE",
    ),
    "join step restart": (
        "Khởi động lại nút đang chạy để nhận cấu hình mới.",
        "Restart the running node: its configuration changed.",
    ),
    "join step contact": (
        "Không nút nào trả lời: kiểm tra mạng, tường lửa, địa chỉ trong mốc tin cậy; rồi chạy lại lệnh này.",
        "No node answered: check network, firewall and the anchor's addresses; then repeat this command.",
    ),
    "join step registration": (
        "Nộp {request} cho cơ quan đăng ký. Khi một nút có bản ghi, chạy lại lệnh này (hoặc cứ để nút chạy).",
        "Bring {request} to the registrar. When a node has the record, repeat this command (or just let the node run).",
    ),
    "join step directory": ("Chạy lại lệnh này để lấy danh bạ.", "Repeat this command to fetch the directory."),
    "join step run": ("Chạy nút: truc --config {config} run", "Run the node: truc --config {config} run"),
    "join step check": ("Kiểm tra: truc --config {config} doctor", "Check: truc --config {config} doctor"),
    "help anchor": (
        "In mốc tin cậy của mạng này thành một dòng, và ghi ra FILE nếu nêu. Không có gì bí mật trong đó.",
        "Print this network's anchor as one line, and write it to FILE if named. Nothing in it is secret.",
    ),
    "option anchor root_digest": (
        "Vân tay gốc, 64 chữ số hex; mặc định: của nút này.",
        "Root digest, 64 hex digits; default: this node's.",
    ),
    "option anchor contacts": (
        "Một nút liên hệ: MÃ,PEER_ID,ĐỊA_CHỈ[,ĐỊA_CHỈ…]; lặp lại được. Mặc định: nút này và các nút trong cấu hình.",
        "A contact: CENTRE,PEER_ID,ADDRESS[,ADDRESS…]; repeatable. Default: this node and those of its configuration.",
    ),
    "option anchor name": ("Tên mạng.", "The network's name."),
    "anchor contact form": ("--contact cần MÃ,PEER_ID,ĐỊA_CHỈ", "--contact needs CENTRE,PEER_ID,ADDRESS"),
    "anchor digest form": ("--root-digest cần 64 chữ số hex", "--root-digest needs 64 hex digits"),
    "anchor written": ("Đã ghi {path}.", "Written to {path}."),
    "anchor made": (
        "root_digest {root} – công bố vân tay này qua một kênh khác để bên nhận so.",
        "root_digest {root} – publish it over another channel, so that whoever gets the anchor can compare.",
    ),
    "peer introducing": ("đang tự giới thiệu", "introducing itself"),
    "peer level": ("như nhau", "the same"),
    "peer not compared": ("chưa lấy được, {count} lần", "not compared, {count} times"),
    "peer directory failed": (
        "Danh bạ của {centre} không lấy được, lần cuối {at}: {code}: {text}",
        "The directory of {centre} could not be compared, last at {at}: {code}: {text}",
    ),
    "peers refused": ("Không cho vào gần đây:", "Not let in of late:"),
    "column who": ("ai", "who"),
    "column count": ("số lần", "times"),
    "refused not_admitted": (
        "không có trong danh bạ, hoặc không kịp tự giới thiệu",
        "not in the directory, or did not introduce itself in time",
    ),
    "refused not_named": ("danh bạ không còn nêu", "the directory names it no more"),
    "refused peer_id_changed": ("danh bạ đã nêu peer id khác", "the directory names another peer id"),
    "refused peer_id_twice": ("hai trung tâm nêu cùng peer id", "two centres name the same peer id"),
    "refused closed": ("trung tâm đã đóng", "the centre is closed"),
    "refused admission_over": ("danh bạ không còn nêu", "the directory names it no more"),
    "refused introductions_in_vain": (
        "giới thiệu không thành quá nhiều lần",
        "introduced itself in vain too often",
    ),
    "refused introduction_unproven": ("không chứng minh được là ai", "did not prove who it is"),
    "refused handshake": ("bắt tay hỏng", "the handshake failed"),
    "refused silent": ("không nói gì", "said nothing"),
    "refused directory_pending": (
        "bản ghi nêu nó còn chờ xác nhận",
        "the record that names it waits for its endorsement",
    ),
}
