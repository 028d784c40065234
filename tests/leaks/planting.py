"""People who never were, and images that carry their traces in places where archives hide them."""

import base64
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

PEOPLE = (
    ("ISO_IR 100", "Grünwald-Sörensen^Annegret^Maria"),
    ("ISO_IR 100", "O'Sullivan^Máire"),
    ("ISO_IR 101", "Wałęsiński^Zdzisława"),
    ("ISO_IR 144", "Кузнецова^Людмила"),
    ("ISO_IR 126", "Παπαδοπούλου^Ελένη"),
    ("ISO_IR 127", "قباني^لنزار"),
    ("ISO_IR 138", "שרון^דבורה"),
    ("ISO_IR 166", "สมหญิง^ใจดี"),
    ("GB18030", "Zhang^XiaoDong=张^小东"),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ("ISO_IR 192", "Nguyễn^Thị Hạnh"),
    ("ISO_IR 192", "Łukaszewicz^Świętosława^^Dr."),
    ("ISO_IR 100", "VANDERBILT^MARGARET"),
)
"""A character set, and a name that it can hold."""

STREETS = ("Lindenallee 17, 20253 Hamburg", "9 Threadneedle Walk, Northampton", "Via Garibaldi 88")


@dataclass
class Traces:
    """What was planted of one person."""

    name: str
    charset: object
    patient_id: str
    accession: str
    birth: str
    study_date: str
    address: str
    phone: str
    uids: list[str] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        """The parts of the name, longest first; titles are nobody's."""
        raw = self.name
        for mark in "^=-' .":
            raw = raw.replace(mark, "\n")
        found = {w for w in raw.split("\n") if len(w) > 2 or (len(w) == 2 and not w.isascii())}
        return sorted(found - {"Dr"}, key=len, reverse=True)

    @property
    def surname(self) -> str:
        """The first part of the first group."""
        return self.name.split("=")[0].split("^")[0]


Planter = Callable[[Dataset, Traces, random.Random], None]


def person(rng: random.Random, number: int) -> Traces:
    """A person by number; the same seed makes the same one."""
    charset, name = PEOPLE[number % len(PEOPLE)]
    return Traces(
        name=name,
        charset=charset,
        patient_id=f"{rng.choice(('MRN', 'KH-', ''))}{rng.randrange(10**7, 10**8)}",
        accession=f"ACC{rng.randrange(10**6, 10**7)}",
        birth=f"{rng.randrange(1930, 2015)}{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}",
        study_date=f"20{rng.randrange(10, 25)}{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}",
        address=rng.choice(STREETS),
        phone=f"+49 40 {rng.randrange(10**6, 10**7)}",
    )


def plain_image(who: Traces, rng: random.Random) -> Dataset:
    """A sound CT with the modules that every archive fills, naming its patient where one should."""
    made = Dataset()
    made.SpecificCharacterSet = who.charset
    made.SOPClassUID = CTImageStorage
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        uid = generate_uid(entropy_srcs=[keyword, who.patient_id, str(rng.random())])
        setattr(made, keyword, uid)
        who.uids.append(str(uid))
    made.PatientName, made.PatientID, made.AccessionNumber = who.name, who.patient_id, who.accession
    made.PatientBirthDate, made.StudyDate, made.SeriesDate = (
        who.birth,
        who.study_date,
        who.study_date,
    )
    made.StudyTime, made.PatientSex, made.Modality = "091730.25", "F", "CT"
    made.PatientAddress, made.PatientTelephoneNumbers = who.address, who.phone
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.SeriesNumber, made.InstanceNumber, made.BurnedInAnnotation = 3, 7, "NO"
    pixels = np.random.default_rng(rng.randrange(2**31)).integers(
        0, 2000, (24, 24), dtype=np.uint16
    )
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = pixels.shape
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.RescaleSlope, made.RescaleIntercept = 1, -1024
    made.PixelData = pixels.tobytes()
    made["PixelData"].VR = "OW"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


def _in_comments(made: Dataset, who: Traces, rng: random.Random) -> None:
    first, last = who.words[-1], who.words[0]
    made.ImageComments = f"compared with {first} {last}, born {_dotted(who.birth)}"
    made.StudyDescription = f"CT for {last.upper()} / {who.patient_id}"
    made.SeriesDescription = f"{last.lower()}_{who.birth}"
    made.ProtocolName = f"{first}{last}"
    made.AdditionalPatientHistory = f"lives at {who.address}; call {who.phone}"


def _in_device_fields(made: Dataset, who: Traces, rng: random.Random) -> None:
    made.StationName = who.surname[:16]
    made.ManufacturerModelName = f"scanner of {who.accession}"
    made.ConvolutionKernel = who.words[0][:16]
    made.OperatorsName = who.name
    made.ContrastBolusAgent = f"given to {who.words[0]}"


def _in_private_blocks(made: Dataset, who: Traces, rng: random.Random) -> None:
    block = made.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", f"PatientName\0{who.name}\0\0{who.patient_id}".encode())
    block.add_new(0x11, "LO", who.words[0])
    other = made.private_block(0x0009, who.words[0] if who.words[0].isascii() else "X", create=True)
    other.add_new(0x01, "LO", who.accession)


def _in_overlays(made: Dataset, who: Traces, rng: random.Random) -> None:
    made.add_new(0x60000010, "US", 24)
    made.add_new(0x60000022, "LO", who.words[0])
    made.add_new(0x60003000, "OW", (who.patient_id.encode() + bytes(100))[:72])
    made.add_new(0x50003000, "OW", who.accession.encode() + bytes(len(who.accession) % 2))
    made.add_new(0x60020010, "US", 24)
    made.add_new(0x60024000, "LT", who.words[-1])


def _in_report_content(made: Dataset, who: Traces, rng: random.Random) -> None:
    text, container = Dataset(), Dataset()
    text.ValueType, text.TextValue = "TEXT", f"Findings of {who.words[0]}: none. {who.accession}"
    text.PersonName = who.name
    container.ValueType, container.ContentSequence = "CONTAINER", Sequence([text])
    made.ContentSequence = Sequence([container])


def _three_deep(made: Dataset, who: Traces, rng: random.Random) -> None:
    deepest, middle, top = Dataset(), Dataset(), Dataset()
    deepest.PatientName, deepest.PatientID = who.name, who.patient_id
    deepest.ReferencedSOPInstanceUID = who.uids[0]
    deepest.ReferencedSOPClassUID = CTImageStorage
    deepest.TextString = who.words[0]
    middle.ReferencedImageSequence = Sequence([deepest])
    middle.SeriesInstanceUID = who.uids[2]
    top.ReferencedSeriesSequence = Sequence([middle])
    top.StudyInstanceUID = who.uids[1]
    top.RequestAttributesSequence = Sequence([deepest])
    made.StudiesContainingOtherReferencedInstancesSequence = Sequence([top])
    made.DerivationImageSequence = Sequence([middle])


def _in_unknown_vrs(made: Dataset, who: Traces, rng: random.Random) -> None:
    made.add_new(0x00189999, "UN", _even(who.name.encode("utf-8")))
    made.add_new(0x0040FFF1, "UN", _even(who.patient_id.encode("utf-16-le")))
    made.add_new(0x0008F199, "UN", _even(base64.b64encode(who.words[0].encode())))


def _in_file_meta(made: Dataset, who: Traces, rng: random.Random) -> None:
    made.file_meta.SourceApplicationEntityTitle = who.accession[:16]
    made.file_meta.PrivateInformationCreatorUID = generate_uid(entropy_srcs=[who.patient_id])
    made.file_meta.PrivateInformation = _even(who.name.encode("utf-8"))
    made.preamble = (who.patient_id + who.words[0]).encode("utf-8")[:128].ljust(128, b"\0")


def _encoded(made: Dataset, who: Traces, rng: random.Random) -> None:
    word = who.words[0].encode("utf-8")
    made.ImageComments = base64.b64encode(b"x" * rng.randrange(3) + word).decode()
    made.PatientComments = quote(who.words[0])
    made.add_new(0x00204000, "LT", word.hex())
    made.StudyComments = who.words[0][::-1]


def _in_codes(made: Dataset, who: Traces, rng: random.Random) -> None:
    """Where only a code or a number should stand, which an allow-list lets through by its tag."""
    ascii_word = next((word for word in who.words if word.isascii()), who.accession)
    made.BodyPartExamined = ascii_word.upper()[:16].replace("'", " ")
    made.ImageType = ["ORIGINAL", "PRIMARY", who.accession]


def _in_numbers(made: Dataset, who: Traces, rng: random.Random) -> None:
    digits = "".join(filter(str.isdigit, who.patient_id))
    made.SeriesNumber = int(digits)
    made.TableHeight = digits
    made.Exposure = int(who.birth)


def _in_the_wrong_set(made: Dataset, who: Traces, rng: random.Random) -> None:
    """The bytes of one character set under the name of another."""
    made.SpecificCharacterSet = "ISO_IR 100"
    raw = who.name.encode("utf-8")
    made.add_new(0x00324000, "LT", raw.decode("latin-1"))
    made.PatientName = raw.decode("latin-1")


def _in_lookup_tables(made: Dataset, who: Traces, rng: random.Random) -> None:
    table = Dataset()
    table.LUTDescriptor = [32, 0, 16]
    table.LUTExplanation = who.words[0]
    table.add_new(0x00283006, "OW", (who.accession.encode() * 8)[:64])
    made.VOILUTSequence = Sequence([table])


PLACES: dict[str, Planter] = {
    "comments": _in_comments,
    "device fields": _in_device_fields,
    "private blocks": _in_private_blocks,
    "overlays and curves": _in_overlays,
    "report content": _in_report_content,
    "sequences three deep": _three_deep,
    "unknown VRs": _in_unknown_vrs,
    "file meta and preamble": _in_file_meta,
    "base64, percent, hex, reversed": _encoded,
    "codes": _in_codes,
    "numbers": _in_numbers,
    "wrong character set": _in_the_wrong_set,
    "lookup tables": _in_lookup_tables,
}
"""Every place in a header, by name."""


def _dotted(day: str) -> str:
    return f"{day[6:]}.{day[4:6]}.{day[:4]}"


def _even(content: bytes) -> bytes:
    return content + bytes(len(content) % 2)
