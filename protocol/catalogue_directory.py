"""Outcomes of checkpoints and of comparing directories between nodes: rows of `catalogue.py`."""

from __future__ import annotations

from typing import Final

from protocol.catalogue_entry import row

ROWS: Final = (
    row("trust", 403, "checkpoint_differs",
        "Điểm chốt {number} của {registrar} tính {said} bản ghi; ở đây có {found}, hoặc nội dung khác.",
        "Checkpoint {number} of {registrar} counts {said} records; here there are {found}, or others.",
        "Nút đối chiếu tiếp với các nút khác; nếu kéo dài, báo cơ quan đăng ký.",
        "The node goes on comparing with others; if it lasts, tell the registrar."),
    row("not_now", 503, "directory_checkpoint_unknown",
        "Chưa biết điểm chốt mà nhịp báo của {registrar} nhắc tới.", "The checkpoint that a heartbeat of {registrar} repeats is not known.",
        "Nút đối chiếu danh bạ với các nút khác.", "The node compares its directory with others."),
    row("configuration", 503, "directory_old",
        "Đã lâu chưa biết chắc danh bạ của cơ quan đăng ký {registrar} còn mới.", "It is long since the log of registrar {registrar} was known to be up to date.",
        "Kiểm tra kết nối tới các nút khác; nếu vẫn vậy, báo cơ quan đăng ký ký điểm chốt.",
        "Check the links to other nodes; if it lasts, ask the registrar to sign a checkpoint."),
    row("network", 502, "peer_withholds",
        "Nút kia báo có {said} ({what}) nhưng chỉ đưa {given}.", "The other node claims {said} ({what}) and gave {given}.",
        "Nút hỏi các nút khác, rồi hỏi lại sau.", "The node asks others, and this one again later."),
    row("network", 502, "peer_contradicts",
        "Các câu trả lời của nút kia mâu thuẫn nhau ({what}).", "The other node's answers contradict each other ({what}).",
        "Kiểm tra phần mềm của nút kia; nút này hỏi các nút khác.", "Check the software of the other node; this one asks others."),
    row("network", 502, "peer_endless",
        "Nút kia gửi quá giới hạn {limit} ({what}) trong một phiên.", "The other node went beyond {limit} in one session ({what}).",
        "Kiểm tra phần mềm của nút kia; nút này hỏi các nút khác.", "Check the software of the other node; this one asks others."),
    row("network", 502, "peer_sends_junk",
        "Nút kia đưa {count} bản ghi hỏng hoặc sai chữ ký.", "The other node gave {count} damaged or wrongly signed things.",
        "Kiểm tra phần mềm của nút kia; nút này hỏi các nút khác.", "Check the software of the other node; this one asks others."),
    row("network", 502, "peer_declined",
        "Nút kia không trả lời ({reason}).", "The other node does not answer ({reason}).",
        "Nút tự thử lại sau.", "The node tries again later."),
    row("network", 502, "reconcile_order",
        "Khung trên luồng danh bạ đến sai thứ tự.", "A frame on the directory stream came out of order.",
        "Kiểm tra phần mềm của nút kia.", "Check the software of the other node."),
    row("network", 502, "introduction_expected",
        "Nút lạ chỉ được tự giới thiệu, không được hỏi.", "A node that is not admitted may only introduce itself.",
        "Đăng ký trung tâm với định danh mạng này, hoặc để nút tự giới thiệu.",
        "Register the centre with this peer id, or let the node introduce itself."),
)
