"""What `truc directory` says: the part of `texts.py` that belongs to it."""

from __future__ import annotations

from typing import Final

DIRECTORY: Final[dict[str, tuple[str, str]]] = {
    "help directory history": (
        "Mọi phiên bản bản ghi của một cơ quan hoặc trung tâm, ai đã ký.",
        "All versions of an agency's or centre's record, and who signed.",
    ),
    "help directory tree": (
        "Cấp trên và cấp dưới của một cơ quan; không có mã: các cơ quan cấp một.",
        "What stands above and below an agency; without a code: level 1.",
    ),
    "help directory changes": (
        "Những gì đã đổi trong danh bạ sau một vị trí.",
        "What changed in the directory behind a cursor.",
    ),
    "help directory verify": (
        "Kiểm lại mọi chữ ký từ gốc, của một tệp hoặc của nút. Mã thoát 1 nếu có gì sai.",
        "Judge all signatures again from the root, of a file or the node. Exit code 1 if anything is wrong.",
    ),
    "help directory export": (
        "Ghi mọi bản ghi đã ký mà nút biết vào một tệp (.truc). Không ghi đè.",
        "Write all signed things that the node knows into one file (.truc). Writes over nothing.",
    ),
    "option directory verify root": (
        "Vân tay bộ khóa gốc, 64 chữ số hex; mặc định theo cấu hình.",
        "Digest of the root key set, 64 hex digits; default: as configured.",
    ),
    "option prefix": ("Mã bắt đầu bằng các ký tự này.", "Codes that begin with these characters."),
    "option under": ("Chỉ những gì thuộc cơ quan này.", "Only what stands below this agency."),
    "option state": ("Trạng thái.", "The state."),
    "option host": ("Chỉ cơ quan do trung tâm này phục vụ.", "Only agencies that this centre hosts."),
    "option kind": ("Loại cơ quan.", "The kind of agency."),
    "option depth": ("Số cấp bên dưới.", "So many levels below."),
    "option registrar": (
        "Chỉ những gì cần để kiểm nhật ký của cơ quan đăng ký này.",
        "Only what is needed to judge this registrar's log.",
    ),
    "option directory changes wait": (
        "Chưa có thay đổi thì chờ bấy nhiêu giây.",
        "If nothing has changed, wait so many seconds for a change.",
    ),
    "exported": ("Đã ghi {things} bản ghi vào {path}.", "Wrote {things} things into {path}."),
    "changes next": ("Tiếp theo: --after {cursor}", "Go on with --after {cursor}"),
    "pending change": (
        "ĐANG CHỜ: thay đổi {fields} (nơi lưu trữ {host}), có hiệu lực lúc {due} nếu không bị rút lại",
        "PENDING: a change of {fields} (host {host}) comes into force at {due} unless it is taken back",
    ),
    "day not begun": ("chưa xác định", "a time not known yet"),
    "verify progress": ("kiểm chữ ký {name}", "verifying {name}"),
    "verify sound": ("{believed} bản ghi đúng chữ ký từ gốc.", "{believed} things are rightly signed, from the root."),
    "verify unsound": (
        "{believed} bản ghi đúng; {faults} KHÔNG TIN ĐƯỢC.",
        "{believed} things are right; {faults} CANNOT BE BELIEVED.",
    ),
    "pki valid": ("hợp lệ", "valid"),
    "pki invalid": ("không hợp lệ", "invalid"),
    "pki unknown": ("chưa rõ", "unknown"),
    "column pki": ("chứng thư số", "certificate check"),
    "column certificate": ("chủ thể, nơi cấp, hạn", "subject, issuer, valid until"),
    "standing pending": ("đang chờ", "pending"),
    "standing in_force": ("đang hiệu lực", "in force"),
    "standing superseded": ("đã được thay", "superseded"),
    "standing aside": ("không tính", "aside"),
    "subject root": ("gốc", "root"),
    "subject centre": ("trung tâm", "centre"),
    "subject agency": ("cơ quan", "agency"),
    "subject fork": ("ký hai lần một số", "fork"),
    "field names": ("tên", "names"),
    "field host": ("nơi lưu trữ", "host"),
    "field epoch": ("kỳ lưu trữ", "epoch"),
    "field parent": ("cấp trên", "parent"),
    "field kind": ("loại", "kind"),
    "field aliases": ("mã khác", "aliases"),
    "field state": ("trạng thái", "state"),
    "field successors": ("kế thừa", "successors"),
    "field decision": ("quyết định", "decision"),
    "field keys": ("khóa", "keys"),
    "field sealing": ("khóa niêm phong", "sealing keys"),
    "field delegation": ("ủy quyền đăng ký", "delegation"),
    "field peer_id": ("peer id", "peer id"),
    "agency unknown": ("KHÔNG ĐỌC ĐƯỢC", "UNREADABLE"),
    "column registrar": ("cơ quan đăng ký", "registrar"),
    "column delegation": ("ủy quyền đăng ký", "delegation"),
    "column standing": ("tình trạng", "standing"),
    "column changes": ("thay đổi", "changes"),
    "column things": ("bản ghi", "things"),
    "column missing": ("thiếu", "missing"),
    "column checkpoint": ("điểm chốt khớp", "checkpoint"),
}
