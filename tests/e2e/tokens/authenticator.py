# Somebody's authenticator: scans the picture (zxing-cpp) and shows codes (pyotp).
# Knows no secret but by the URI that it scanned.

import re
import xml.etree.ElementTree as tree

import pyotp
import zxingcpp
from PIL import Image, ImageDraw

from lines import serve

NAMESPACE = "{http://www.w3.org/2000/svg}"
RECTANGLE = re.compile(r"M(\d+) (\d+)h(\d+)v(\d+)(?:h-\3|H\1)z")
PIXELS = 5


def drawn(svg):
    """The pixels of an SVG that has rectangles and nothing else, on grey: what it leaves out is neither dark nor light."""
    root = tree.fromstring(svg)
    _, _, width, height = map(int, root.get("viewBox").split())
    image = Image.new("RGB", (width * PIXELS, height * PIXELS), "#808080")
    draw = ImageDraw.Draw(image)
    for path in root:
        assert path.tag == NAMESPACE + "path" and RECTANGLE.sub("", path.get("d")) == "", path.tag
        for x, y, across, down in RECTANGLE.findall(path.get("d")):
            left, top = int(x) * PIXELS, int(y) * PIXELS
            draw.rectangle((left, top, left + int(across) * PIXELS - 1, top + int(down) * PIXELS - 1), fill=path.get("fill"))
    return image


def scan(svg):
    (read,) = zxingcpp.read_barcodes(drawn(svg))
    return {"text": read.text}


def code(uri, at):
    totp = pyotp.parse_uri(uri)
    return {"code": totp.at(at), "issuer": totp.issuer, "name": totp.name, "digits": totp.digits, "interval": totp.interval}


serve({"ready": True}, {"scan": scan, "code": code})
