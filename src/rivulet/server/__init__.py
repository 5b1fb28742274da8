"""`rivulet serve`: WebSocket, HTTP and a page on one port; `app` binds what the others say.

protocol    messages in, actions out: what vosk_protocol and native_protocol share
settings    limits and what may connect
metrics     what is counted, as Prometheus reads it
advancing   the one place where streams are advanced, many in one step
streams     who holds a stream: open, park, resume, drain
connection  one WebSocket
uploads     files over HTTP, as OpenAI's clients send them
wyoming     the protocol of home assistants
app         routes, and what binds the protocols to a port
siblings    what the processes of one server know of one another
processes   the parent: hands connections to its children and replaces those that die
relay       what one process asks of another: a stream to go on with, its metrics
running     sockets and the end
"""
