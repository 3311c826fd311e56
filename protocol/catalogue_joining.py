"""Outcomes of joining, introductions and admission: rows of `catalogue.py`."""

from __future__ import annotations

from typing import Final

from protocol.catalogue_entry import row

ROWS: Final = (
    row("format", 400, "anchor_damaged",
        "Tệp hoặc dòng mốc tin cậy bị hỏng hay bị cắt ({reason}).", "The anchor file or line is damaged or cut ({reason}).",
        "Xin lại tệp từ cơ quan đã cấp; chép đủ cả dòng.", "Get it again from whoever gave it; copy the whole line."),
    row("trust", 403, "introduction_unproven",
        "Không có bản ghi trung tâm đang hiệu lực nào mang định danh mạng {peer} ({reason}).",
        "No centre record in force names the peer id {peer} ({reason}).",
        "Nộp tệp yêu cầu của nút cho cơ quan đăng ký; khi danh bạ có bản ghi thì nối lại.",
        "Bring the node's request file to the registrar; connect again when the directory has the record."),
    row("network", 502, "introduction_refused",
        "Nút {centre} chưa nhận nút này ({reason}).", "The node of {centre} does not admit this node yet ({reason}).",
        "Nút tự thử lại; nếu chưa đăng ký, nộp tệp yêu cầu cho cơ quan đăng ký.",
        "The node tries again by itself; if it is not registered, bring the request file to the registrar."),
    row("trust", 403, "peer_id_twice",
        "Các trung tâm {centres} cùng khai một định danh mạng; chỉ {kept} được nhận.",
        "The centres {centres} name one peer id; only {kept} is admitted.",
        "Báo cơ quan đăng ký sửa bản ghi sai.", "Tell the registrar to correct the wrong record."),
    row("configuration", 409, "join_other_root",
        "Cấu hình {file} đã thuộc mạng khác: root_digest {found}, mốc tin cậy có {wanted}.",
        "The configuration {file} belongs to another network: root_digest {found}, the anchor has {wanted}.",
        "So cả hai với vân tay đã công bố. Muốn sang mạng khác, lập nút mới trong thư mục khác.",
        "Compare both with the published digest. To join another network, make a new node in another folder."),
    row("configuration", 409, "join_other_centre",
        "Cấu hình {file} là của trung tâm {found}, không phải {wanted}.",
        "The configuration {file} is of centre {found}, not {wanted}.",
        "Bỏ --centre, hoặc chọn thư mục khác.", "Leave --centre out, or choose another folder."),
    row("configuration", 409, "join_config_by_hand",
        "Không tự sửa được {file} ({reason}).", "{file} cannot be changed automatically ({reason}).",
        "Ghi root_digest và [[peers]] bằng tay như lệnh này in ra, rồi chạy lại.",
        "Enter root_digest and [[peers]] by hand as printed, then run the command again."),
    row("configuration", 409, "anchor_unready",
        "Chưa lập được mốc tin cậy: {reason}.", "No anchor can be made yet: {reason}.",
        "Cho nút tham gia mạng trước, hoặc nêu --root-digest và --contact.",
        "Let the node join first, or give --root-digest and --contact."),
)
