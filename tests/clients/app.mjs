// An app of Node's own HTTP servers: prints the ports of HTTP/1.1 and of HTTP/2 without TLS.
import { createHash } from "node:crypto";
import http from "node:http";
import http2 from "node:http2";

// Bytes that no two places share for long, the same ones for each length.
function pattern(length) {
  const block = Buffer.concat(
    Array.from({ length: 2048 }, (_, n) => createHash("sha256").update(String(n)).digest()),
  );
  return Buffer.alloc(length, block);
}

const paths = {
  // What came goes back, as it comes.
  "/echo": (request, response) => {
    response.writeHead(200, { "x-length": request.headers["content-length"] ?? "none" });
    request.pipe(response);
  },
  "/bytes": (request, response, url) => {
    const bytes = pattern(Number(url.searchParams.get("n")));
    response.writeHead(200, { "content-length": bytes.length, "x-sha256": createHash("sha256").update(bytes).digest("hex") });
    response.end(request.method === "HEAD" ? undefined : bytes);
  },
  "/chunks": async (_, response) => {
    for (let n = 0; n < 100; n += 1) {
      if (!response.write(`${n},`.repeat(100))) await new Promise((drained) => response.once("drain", drained));
    }
    response.end();
  },
  "/trailers": (_, response) => {
    response.writeHead(200, { trailer: "x-checksum", "content-type": "text/plain" });
    response.write("body");
    response.addTrailers({ "x-checksum": "abc123" });
    response.end();
  },
  "/request-trailers": (request, response) => {
    request.resume();
    request.on("end", () => response.end(JSON.stringify(request.trailers)));
  },
  "/hints": (_, response) => {
    response.writeEarlyHints({ link: "</style.css>; rel=preload; as=style" });
    response.end("after hints");
  },
  "/head": (request, response) => response.end(JSON.stringify({ version: request.httpVersion, headers: request.headers })),
};

function handle(request, response) {
  const url = new URL(request.url, "http://app");
  const path = paths[url.pathname];
  if (path) return path(request, response, url);
  response.writeHead(404);
  response.end();
}

const servers = [http.createServer(handle), http2.createServer(handle)];
// Who asks for leave to send a body is refused here, and gets it elsewhere.
servers.forEach((server) =>
  server.on("checkContinue", (request, response) => {
    if (request.url !== "/refuse") {
      response.writeContinue();
      return handle(request, response);
    }
    response.writeHead(401, { "content-length": 0 });
    response.end();
  }),
);
// Another protocol: each piece goes back in upper case, and a last word after the client's.
servers[0].on("upgrade", (request, socket, head) => {
  socket.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: shout\r\n\r\n");
  socket.on("data", (piece) => socket.write(piece.toString().toUpperCase()));
  socket.on("end", () => socket.end("BYE"));
  socket.on("error", () => socket.destroy());
  if (head.length) socket.write(head.toString().toUpperCase());
});

const ports = servers.map(
  (server) => new Promise((listening) => server.listen(0, "127.0.0.1", () => listening(server.address().port))),
);
console.log((await Promise.all(ports)).join(" "));
