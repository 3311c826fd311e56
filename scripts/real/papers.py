"""Files for trying out: a PDF that any reader opens and a DOCX that any office program opens, from nothing.

Written with the standard library. The PDF has one page of text in Vietnamese, which can be searched
and copied (PDF 32000-1 §9.10 ToUnicode), and a picture as if from a scanner, so that it is too large
to travel inside an offer. The DOCX has the least parts that ECMA-376 asks for.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

LETTER: Final = (
    "VĂN PHÒNG CHÍNH PHỦ",
    "CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM",
    "Số: 123/VPCP-KSTT",
    "Công văn: V/v kết nối trục liên thông văn bản",
    "Kính gửi: Bộ Tài chính; UBND tỉnh Lào Cai.",
    "(Văn bản hư cấu, chỉ để trình diễn.)",
)
APPENDIX: Final = ("Phụ lục", "Danh mục kết nối, kèm theo công văn số 123/VPCP-KSTT.", "(Văn bản hư cấu.)")

SCAN_WIDTH: Final = 900
SCAN_HEIGHT: Final = 600


def make_pdf(lines: Sequence[str], *, scan: bool = True) -> bytes:
    """A page of A4 with these lines; with a picture of half a megabyte below them."""
    characters = sorted(set("".join(lines)))
    codes = {character: 33 + index for index, character in enumerate(characters)}
    pictures = "/XObject << /Scan 7 0 R >>" if scan else ""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        f" /Resources << /Font << /F 5 0 R >> {pictures} >> >>".encode(),
        _stream(_page(lines, codes, scan)),
        _font(characters),
        _stream(_to_unicode(codes)),
    ]
    if scan:
        picture = f"/Type /XObject /Subtype /Image /Width {SCAN_WIDTH} /Height {SCAN_HEIGHT}"
        objects.append(_stream(_grey(), f"{picture} /ColorSpace /DeviceGray /BitsPerComponent 8"))
    return _file(objects)


def _page(lines: Sequence[str], codes: dict[str, int], scan: bool) -> bytes:
    shown = [f"<{''.join(f'{codes[character]:02x}' for character in line)}> Tj 0 -24 Td" for line in lines]
    picture = "q 400 0 0 266 97 200 cm /Scan Do Q" if scan else ""
    return "\n".join(["BT /F 13 Tf 60 780 Td", *shown, "ET", picture]).encode()


def _font(characters: Sequence[str]) -> bytes:
    """Helvetica, which every reader has, with the glyphs of exactly these characters."""
    names = " ".join(f"/uni{ord(character):04X}" for character in characters)
    return (
        f"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 6 0 R"
        f" /Encoding << /Type /Encoding /Differences [33 {names}] >> >>"
    ).encode()


def _to_unicode(codes: dict[str, int]) -> bytes:
    """Which code is which character; at most 100 lines in one block."""
    rows = [f"<{code:02x}> <{ord(character):04X}>" for character, code in codes.items()]
    blocks = [rows[at : at + 100] for at in range(0, len(rows), 100)]
    maps = "\n".join(f"{len(block)} beginbfchar\n" + "\n".join(block) + "\nendbfchar" for block in blocks)
    return (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap\n"
        "/CMapName /Truc def /CMapType 2 def\n"
        f"1 begincodespacerange <00> <ff> endcodespacerange\n{maps}\n"
        "endcmap CMapName currentdict /CMap defineresource pop end end"
    ).encode()


def _grey() -> bytes:
    """A page as a scanner sees it: light, with noise that does not compress."""
    noise = hashlib.shake_256(b"truc").digest(SCAN_WIDTH * SCAN_HEIGHT)
    return bytes(208 + value % 48 for value in noise)


def _stream(content: bytes, words: str = "") -> bytes:
    return f"<< /Length {len(content)} {words} >>\nstream\n".encode() + content + b"\nendstream"


def _file(objects: Sequence[bytes]) -> bytes:
    out = io.BytesIO()
    out.write(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, content in enumerate(objects, start=1):
        places.append(out.tell())
        out.write(f"{number} 0 obj\n".encode() + content + b"\nendobj\n")
    start = out.tell()
    rows = "".join(f"{place:010d} 00000 n \n" for place in places)
    count = len(objects) + 1
    out.write(f"xref\n0 {count}\n0000000000 65535 f \n{rows}".encode())
    out.write(f"trailer\n<< /Size {count} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode())
    return out.getvalue()


# --- DOCX -----------------------------------------------------------------------------------

_OFFICE: Final = "http://schemas.openxmlformats.org"
_CONTENT_TYPES: Final = (
    f'<Types xmlns="{_OFFICE}/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/word/document.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
_RELATIONS: Final = (
    f'<Relationships xmlns="{_OFFICE}/package/2006/relationships"><Relationship Id="rId1"'
    f' Type="{_OFFICE}/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>'
)


def make_docx(lines: Sequence[str]) -> bytes:
    """A document with one paragraph per line."""
    paragraphs = "".join(f"<w:p><w:r><w:t>{escape(line)}</w:t></w:r></w:p>" for line in lines)
    main = f"{_OFFICE}/wordprocessingml/2006/main"
    document = f'<w:document xmlns:w="{main}"><w:body>{paragraphs}<w:sectPr/></w:body></w:document>'
    parts = {"[Content_Types].xml": _CONTENT_TYPES, "_rels/.rels": _RELATIONS, "word/document.xml": document}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in parts.items():
            header = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
            package.writestr(zipfile.ZipInfo(name), header + content, zipfile.ZIP_DEFLATED)
    return out.getvalue()
