"""WebSocket echo servers on a TCP port of their own and on a socket for the gateway.

autobahn 0.10.9 compares a request's Host with the port that it believes to be reached at. Prints the TCP port.
"""
import sys

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOffer, PerMessageDeflateOfferAccept
from twisted.internet import reactor


class Echo(WebSocketServerProtocol):
    def onMessage(self, payload, isBinary):
        self.sendMessage(payload, isBinary)


def accept(offers):
    for offer in offers:
        if isinstance(offer, PerMessageDeflateOffer):
            return PerMessageDeflateOfferAccept(offer)


def factory(port):
    made = WebSocketServerFactory("ws://127.0.0.1:1")
    made.externalPort = port
    made.protocol = Echo
    made.setProtocolOptions(perMessageCompressionAccept=accept)
    return made


socket, gateway = sys.argv[1], int(sys.argv[2])
reactor.listenUNIX(socket, factory(gateway))
direct = factory(None)
direct.externalPort = reactor.listenTCP(0, direct, interface="127.0.0.1").getHost().port
print(direct.externalPort)
sys.stdout.flush()
reactor.run()
