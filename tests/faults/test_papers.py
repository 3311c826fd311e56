"""The demo's files are real: other people's readers open them."""

from __future__ import annotations

import io
import zipfile
from xml.etree import ElementTree as ET

import puremagic
import pypdf

from protocol.limits import INLINE_BYTES_MAX
from scripts.real.papers import APPENDIX, LETTER, make_docx, make_pdf


def test_the_pdf_opens_strictly_and_its_vietnamese_text_can_be_searched() -> None:
    content = make_pdf(LETTER)
    reader = pypdf.PdfReader(io.BytesIO(content), strict=True)
    assert len(reader.pages) == 1
    assert reader.pages[0].extract_text().splitlines()[: len(LETTER)] == list(LETTER)
    assert puremagic.from_string(content) == ".pdf"


def test_the_pdf_is_too_large_to_travel_inside_an_offer_and_the_same_every_time() -> None:
    assert len(make_pdf(LETTER)) > INLINE_BYTES_MAX > len(make_pdf(LETTER, scan=False))
    assert make_pdf(LETTER) == make_pdf(LETTER)


def test_the_docx_is_a_package_with_its_text() -> None:
    content = make_docx(APPENDIX)
    assert puremagic.from_string(content) == ".docx"
    with zipfile.ZipFile(io.BytesIO(content)) as package:
        assert package.testzip() is None
        assert package.namelist()[0] == "[Content_Types].xml"
        text = "".join(ET.fromstring(package.read("word/document.xml")).itertext())
    assert text == "".join(APPENDIX)
