"""Builds the XMP metadata that marks a picture as AI-generated, without the member or the prompt."""

from xml.sax.saxutils import quoteattr

# IPTC's terms for a picture made by a model and an existing picture changed by one.
SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED, EDITED = "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia"


def ai_mark(model: str, *, edited: bool) -> bytes:
    """Return an XMP packet for a picture made by *model*; *edited* if it was made from other pictures."""
    source = quoteattr(SOURCES + (EDITED if edited else GENERATED))
    name = quoteattr(model)
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        f" xmp:CreatorTool={name} Iptc4xmpExt:AISystemUsed={name} Iptc4xmpExt:DigitalSourceType={source}/>"
        '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()
