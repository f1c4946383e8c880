"""SIPp: scripts composed of a few words, run as caller or callee on a `line.Line`.

A script is a list of steps. The caller's texts are requests it makes; the callee's are answers to
what it saw last (`reply`), answers to an earlier request (`late`, completed by the line) and its
own requests within the dialog. SIPp decides whether what arrives is what its script expects, and
its exit status is the verdict.
"""

import os
from xml.sax.saxutils import quoteattr

from . import house, process

SDP = """v=0
o={who} 4711 4711 IN IP4 {address}
s=call
c=IN IP4 {address}
t=0 0
m=audio {port} {profile} 0 101
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
{crypto}a=sendrecv
"""
CRYPTO = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\n"
KEYS = ("WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz", "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj")
REASONS = {100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 202: "Accepted",
           302: "Moved Temporarily", 422: "Session Interval Too Small", 480: "Temporarily Unavailable",
           486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here",
           491: "Request Pending", 603: "Decline", 481: "Call/Transaction Does Not Exist",
           415: "Unsupported Media Type", 420: "Bad Extension"}


def sdp(secure, address, who="phone", port=20002, key=0, direction="sendrecv", version=4711):
    """A description with audio, with SRTP outside and plain RTP inside."""
    text = SDP.format(who=who, address=address, port=port, profile="RTP/SAVP" if secure else "RTP/AVP",
                      crypto=CRYPTO.format(key=KEYS[key]) if secure else "")
    return text.replace("a=sendrecv", f"a={direction}").replace("4711 4711", f"4711 {version}")


def content(body, kind):
    """The end of a message: type, length and body."""
    head = f"Content-Type: {kind}\n" if body else ""
    return f"{head}Content-Length: [len]\n\n{body or ''}"


def lines(extra):
    return "".join(f"{line}\n" for line in extra)


class Script:
    """Steps for one side; `caller` says which."""

    def __init__(self, caller):
        self.caller = caller
        self.steps = []
        self.captured = False
        self.invited = 0
        self.answered = False

    def again(self):
        """SIPp's word for the branch of the last INVITE: so many steps back."""
        return f"[branch-{len(self.steps) - self.invited}]"

    def send(self, text, attributes=""):
        self.steps.append(f"<send{attributes}><![CDATA[\n\n{text}\n]]></send>")
        return self

    def expect(self, *statuses, optional=(100,), keep=False):
        """Responses in order; those in `optional` may come before them. `keep`: a dialog's answer."""
        for status in optional:
            self.steps.append(f'<recv response="{status}" optional="true"/>')
        for status in statuses:
            self.steps.append(f'<recv response="{status}"' + (' rrs="true"' if keep else "") + "/>")
        return self

    def take(self, method, keep=False):
        """A request; `keep` remembers route set and identities for requests of our own."""
        if not keep:
            self.steps.append(f'<recv request="{method}"/>')
            return self
        self.captured = True
        self.steps.append(
            f'<recv request="{method}" rrs="true"><action>'
            '<ereg regexp=".*" search_in="hdr" header="To:" assign_to="mine"/>'
            '<ereg regexp=".*" search_in="hdr" header="From:" assign_to="theirs"/></action></recv>')
        return self

    def pause(self, milliseconds):
        """Holds a call up for so long."""
        self.answered = False
        self.steps.append(f'<pause milliseconds="{milliseconds}"/>')
        return self

    def begin(self, method="INVITE", body="", kind="application/sdp", extra=(), cseq=1, target=""):
        """The first request of a dialog, or one outside any."""
        self.invited = len(self.steps)
        return self.send(
            f"{method} {target or 'sip:[called]@' + house.DOMAIN} SIP/2.0\n"
            f"Via: SIP/2.0/[wire] [via];branch=[branch]\nMax-Forwards: 70\n"
            f"From: <sip:[number]@{house.DOMAIN}>;tag=[tag][call_number]\n"
            f"To: <sip:[called]@{house.DOMAIN}>\nCall-ID: [call_id]\nCSeq: {cseq} {method}\n"
            f"Contact: <[contact]>\n{lines(extra)}{content(body, kind)}")

    def within(self, method, cseq, body="", kind="application/sdp", extra=()):
        """A request within the dialog, from either side."""
        if self.answered:
            self.pause(100)  # An answer and the request after it may take different connections.
        self.answered = False
        self.invited = len(self.steps) if method == "INVITE" else self.invited
        if self.caller:
            ends = (f"From: <sip:[number]@{house.DOMAIN}>;tag=[tag][call_number]\n"
                    f"To: <sip:[called]@{house.DOMAIN}>[peer_tag_param]\n")
        else:
            ends = "From:[$mine];tag=[tag][call_number]\nTo:[$theirs]\n"
        return self.send(
            f"{method} [next_url] SIP/2.0\nVia: SIP/2.0/[wire] [via];branch=[branch]\n"
            f"[routes]\nMax-Forwards: 70\n{ends}Call-ID: [call_id]\nCSeq: {cseq} {method}\n"
            f"Contact: <[contact]>\n{lines(extra)}{content(body, kind)}")

    def cancel(self, extra=()):
        """CANCEL of the first INVITE."""
        return self.send(
            f"CANCEL sip:[called]@{house.DOMAIN} SIP/2.0\nVia: SIP/2.0/[wire] [via];"
            f"branch={self.again()}\n"
            f"Max-Forwards: 70\nFrom: <sip:[number]@{house.DOMAIN}>;tag=[tag][call_number]\n"
            f"To: <sip:[called]@{house.DOMAIN}>\nCall-ID: [call_id]\nCSeq: 1 CANCEL\n"
            f"{lines(extra)}Content-Length: 0\n")

    def failed_ack(self):
        """The ACK of a final response to the first INVITE that is no 2xx."""
        return self.send(
            f"ACK sip:[called]@{house.DOMAIN} SIP/2.0\nVia: SIP/2.0/[wire] [via];"
            f"branch={self.again()}\n"
            f"Max-Forwards: 70\nFrom: <sip:[number]@{house.DOMAIN}>;tag=[tag][call_number]\n"
            f"To: <sip:[called]@{house.DOMAIN}>[peer_tag_param]\nCall-ID: [call_id]\nCSeq: 1 ACK\n"
            "Content-Length: 0\n")

    def change_failed_ack(self, cseq):
        """The caller's ACK of a re-INVITE that was refused."""
        return self.send(
            f"ACK [next_url] SIP/2.0\nVia: SIP/2.0/[wire] [via];branch={self.again()}\n[routes]\n"
            f"Max-Forwards: 70\nFrom: <sip:[number]@{house.DOMAIN}>;tag=[tag][call_number]\n"
            f"To: <sip:[called]@{house.DOMAIN}>[peer_tag_param]\nCall-ID: [call_id]\n"
            f"CSeq: {cseq} ACK\nContent-Length: 0\n")

    def reply(self, status, body="", kind="application/sdp", extra=(), first=False):
        """An answer to the request seen last; `first` adds our tag."""
        self.answered = True
        tag = ";tag=[tag][call_number]" if first else ""
        return self.send(
            f"SIP/2.0 {status} {REASONS[status]}\n[last_Via:]\n[last_Record-Route:]\n[last_From:]\n"
            f"[last_To:]{tag}\n[last_Call-ID:]\n[last_CSeq:]\nContact: <[contact]>\n"
            f"{lines(extra)}{content(body, kind)}")

    def late(self, method, status, body="", kind="application/sdp", extra=()):
        """An answer to an earlier request; the line puts in what it must repeat."""
        return self.send(
            f"SIP/2.0 {status} {REASONS[status]}\nTo: [tag][call_number]\nCall-ID: [call_id]\n"
            f"CSeq: {method}\nContact: <[contact]>\n{lines(extra)}{content(body, kind)}")

    def text(self):
        end = '<Reference variables="mine,theirs"/>' if self.captured else ""
        steps = "\n".join(self.steps)
        return f'<?xml version="1.0" encoding="ISO-8859-1" ?>\n<scenario name={quoteattr("s")}>\n' \
               f"{steps}\n{end}\n</scenario>\n"


class Sipp:
    """One SIPp process on a line: a caller connects to the line, a callee listens for it."""

    count = 0

    def __init__(self, run, line, script, called="", calls=1, seconds=20, call=None, port=None):
        Sipp.count += 1
        self.line, self.call = line, call
        self.name = f"sipp-{Sipp.count}-{line.name}".replace(" ", "-")
        path = run.write(f"sipp/{self.name}.xml", script.text())
        self.errors = run.path("sipp", f"{self.name}.errors")
        argv = ["sipp", "-sf", path, "-t", "t1", "-m", str(calls), "-r", "50" if calls == 1 else "10", "-nostdin",
                "-i", "127.0.0.1", "-trace_err", "-error_file", self.errors,
                "-timeout", f"{seconds}s", "-timeout_error", "-skip_rlimit",
                "-key", "contact", line.contact, "-key", "number", line.number,
                "-key", "called", called or "nobody", "-key", "tag", f"{line.number}s{Sipp.count}x",
                "-key", "wire", line.transport.upper(), "-key", "via", f"{line.address}:{line.port}"]
        if call:
            argv += ["-cid_str", call]
        if script.caller:
            argv += ["-p", str(7000 + Sipp.count), f"127.0.0.1:{line.entry}"]
        else:
            line.phone_port = port or 8000 + Sipp.count
            argv += ["-p", str(line.phone_port)]
        self.process = run.start(self.name, argv, host=line.host, cwd=os.path.dirname(path))
        if not script.caller:
            run.wait(f"{self.name} listens", lambda: process.port_open(
                line.host, "127.0.0.1", line.phone_port))

    def verdict(self, seconds=25):
        """None if the script ran as written, else why not."""
        status = self.process.wait(seconds)
        if status == 0:
            return None
        told = ""
        if os.path.exists(self.errors):
            with open(self.errors, encoding="utf-8", errors="replace") as file:
                told = " ".join(file.read().split())[:700]
        return f"{self.name} ended with {status}: {told}"


def play(run, what, parties):
    """Waits for all SIPps of a flow; one result line."""
    faults = [fault for fault in (party.verdict() for party in parties) if fault]
    return run.check(what, not faults, "; ".join(faults))
