"""Pictures that carry something: EXIF blocks as cameras write them, and containers around any block."""

import struct

from tests.images import odd_files as odd

DATE = b"2001:02:03 04:05:06\0"
XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"


def directory(order, entries, at, following=0):
    """A TIFF directory that lies at `at`, its values behind it. Entries: (tag, type, count, value)."""
    table, values, end = struct.pack(order + "H", len(entries)), b"", at + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in sorted(entries):
        place = value.ljust(4, b"\0")
        if len(value) > 4:
            place = struct.pack(order + "I", end + len(values))
            values += value + bytes(len(value) % 2)
        table += struct.pack(order + "HHI", tag, kind, count) + place
    return table + struct.pack(order + "I", following) + values


def text(tag, value):
    value = value.encode() if isinstance(value, str) else value
    return (tag, 2, len(value) + 1, value + b"\0")


def canon_note(order, at):
    """A directory whose offsets count from the beginning of the whole block."""
    return directory(order, [text(6, "IMG:EOS 5D JPEG"), text(9, "Anna Muster")], at)


def nikon_note(order, at):
    """A note that is a TIFF of its own."""
    mark = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(order + "I", 8)
    return b"Nikon\0\2\x10\0\0" + mark + directory(order, [text(4, "FINE   "), text(29, "1234567")], 8)


def exif(order="<", maker="Canon", note=canon_note, orientation=6, thumbnail=True):
    """A block of five directories: the first, Exif with a maker note, GPS, Interoperability, thumbnail."""

    def number(form, *values):
        return struct.pack(order + form, *values)

    small = odd.jpeg(odd.PHOTO[::4, ::4])

    def built(at, note_at):
        made = note(order, note_at)
        first = [
            text(0x010E, "祖母の写真 1912"),
            text(0x010F, maker),
            (0x0112, 3, 1, number("H", orientation)),
            (0x011A, 5, 1, number("II", 300, 1)),
            (0x011B, 5, 1, number("II", 300, 1)),
            (0x0128, 3, 1, number("H", 2)),
            (0x8769, 4, 1, number("I", at[1])),
            (0x8825, 4, 1, number("I", at[2])),
        ]
        camera = [
            (0x9003, 2, len(DATE), DATE),
            (0x9204, 10, 1, number("ii", -2, 0)),
            (0x927C, 7, len(made), made),
            (0xA002, 4, 1, number("I", 64)),
            (0xA003, 4, 1, number("I", 48)),
            (0xA005, 4, 1, number("I", at[3])),
        ]
        place = [(1, 2, 2, b"N\0"), (2, 5, 3, number("6I", 48, 1, 8, 1, 1234, 100))]
        last = [
            (0x0103, 3, 1, number("H", 6)),
            (0x0201, 4, 1, number("I", at[5])),
            (0x0202, 4, 1, number("I", len(small))),
        ]
        parts = [
            directory(order, first, at[0], at[4] if thumbnail else 0),
            directory(order, camera, at[1]),
            directory(order, place, at[2]),
            directory(order, [(1, 2, 4, b"R98\0")], at[3]),
            *([directory(order, last, at[4]), small] if thumbnail else []),
        ]
        return [part + bytes(len(part) % 2) for part in parts], made

    parts, made = built([8] * 6, 0)
    at = [8]
    for part in parts:
        at.append(at[-1] + len(part))
    at += [0] * (6 - len(at))
    parts, made = built(at, 0)
    parts, _ = built(at, at[1] + parts[1].find(made))
    return (b"II*\0" if order == "<" else b"MM\0*") + number("I", 8) + b"".join(parts)


def xmp(inside=b"", attributes=b""):
    return (
        b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        b'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="Gr\xc3\xb6\xc3\x9fe" '
        + attributes
        + b">"
        + inside
        + b'</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )


def resource(number, data, name=b""):
    """One of Photoshop's image resources."""
    label = bytes([len(name)]) + name
    return (
        b"8BIM"
        + struct.pack(">H", number)
        + label
        + bytes(len(label) % 2)
        + struct.pack(">I", len(data))
        + data
        + bytes(len(data) % 2)
    )


def jpeg(*segments, pixels=odd.PHOTO, density=(1, 600, 600)):
    """A JPEG with these (marker, payload) segments behind its JFIF segment."""
    data = odd.jpeg(pixels)
    head = data[:13] + struct.pack(">BHH", *density) + data[18:20]
    return head + b"".join(odd.segment(*one) for one in segments) + data[20:]


def segments_of(data):
    """All (marker, payload) up to the scan, by a walk of the test's own."""
    found, at = [], 2
    while data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        found.append((data[at + 1], data[at + 4 : at + 2 + length]))
        at += 2 + length
    return found


def chunks_of(data):
    """All (kind, data) of a PNG."""
    found, at = [], 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        found.append((kind, data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def riff_of(data):
    """Name -> data of a WebP."""
    found, at = {}, 12
    while at < len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        found[kind] = data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    return found


def tiff_of(data, at=None):
    """Tag -> bytes of a classic TIFF's directory at `at`, by default its first."""
    order = "<" if data[:2] == b"II" else ">"
    at = struct.unpack_from(order + "I", data, 4)[0] if at is None else at
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 9: 4, 10: 8}
    found = {}
    for index in range(struct.unpack_from(order + "H", data, at)[0]):
        tag, kind, count, value = struct.unpack_from(order + "HHII", data, at + 2 + 12 * index)
        size = sizes[kind] * count
        start = at + 10 + 12 * index if size <= 4 else value
        found[tag] = data[start : start + size]
    return found


def below(data, tags, pointer):
    order = "<" if data[:2] == b"II" else ">"
    return tiff_of(data, struct.unpack(order + "I", tags[pointer][:4])[0])


def exif_in(data):
    """The TIFF structure that holds the EXIF of a file of any kind: in a TIFF it is the file."""
    if data[:2] == b"\xff\xd8":
        return next(payload[6:] for marker, payload in segments_of(data) if payload.startswith(b"Exif\0\0"))
    if data[:4] == b"\x89PNG":
        return dict(chunks_of(data))[b"eXIf"]
    return riff_of(data)[b"EXIF"] if data[:4] == b"RIFF" else data
