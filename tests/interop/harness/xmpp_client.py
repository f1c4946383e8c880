"""A slixmpp client as a program, spoken to over standard input and output, one JSON object a line.

    xmpp_client.py ADDRESS PORT CA JID PASSWORD

Out: {"event": "session"|"refused"|"message"|"gone", …}. In: {"to": JID, "body": TEXT} sends a
message, an end of input signs off.
"""

import asyncio
import json
import logging
import ssl
import sys


def tell(event, **fields):
    print(json.dumps(dict(event=event, **fields)), flush=True)


def main():
    import slixmpp
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    address, port, trusted, jid, password = sys.argv[1:6]

    class Client(slixmpp.ClientXMPP):
        """Tells what happens."""

        def get_ssl_context(self):
            # slixmpp trusts the CA given but checks no name; the domain is what RFC 6120 §13.7 asks for.
            context = ssl.create_default_context(cafile=trusted)
            context.check_hostname = False
            return context

    client = Client(jid, password)
    client.ca_certs = trusted

    async def session(_event):
        client.send_presence()
        await client.get_roster()
        ssl_object = client.transport.get_extra_info("ssl_object")
        names = [value for kind, value in ssl_object.getpeercert().get("subjectAltName", ())]
        tell("session", jid=str(client.boundjid), mechanism=client.mechanism_used(),
             tls=ssl_object.version(), names=names)

    client.mechanism_used = lambda: getattr(client["feature_mechanisms"].mech, "name", "")
    client.add_event_handler("session_start", session)
    client.add_event_handler("failed_auth", lambda e: tell("refused", why=str(e["condition"])))
    client.add_event_handler("stream_error", lambda e: tell("stream_error", why=str(e["condition"])))
    client.add_event_handler("disconnected", lambda e: tell("gone", why=str(e or "")))
    client.add_event_handler("message", lambda m: tell(
        "message", sender=str(m["from"]), body=m["body"]) if m["body"] else None)

    def heard():
        line = sys.stdin.readline()
        if not line:
            client.loop.remove_reader(0)
            client.disconnect(wait=1)
            client.loop.call_later(2, client.loop.stop)
            return
        order = json.loads(line)
        client.send_message(mto=order["to"], mbody=order["body"], mtype="chat")

    client.loop.add_reader(0, heard)
    client.connect((address, int(port)), force_starttls=True)
    client.loop.run_forever()


if __name__ == "__main__":
    asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
    main()
