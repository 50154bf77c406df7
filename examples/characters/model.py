"""A small transformer that says, after each byte of a text, how likely each byte is to come next."""

import torch
from torch import nn

TOKENS = 256  # a token is a byte: peers with other texts and other alphabets need not agree on anything


class Block(nn.Module):
    """Causal attention and a two-layer perceptron, each behind a norm and beside a shortcut; from and to (batch x length x width)."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.mix, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.think = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        queries, keys, values = self.mix(self.norms[0](x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        x = x + self.project(seen.transpose(1, 2).flatten(-2))
        return x + self.think(self.norms[1](x))


class Transformer(nn.Module):
    """From bytes (batch x length, int64, at most `context` long) to logits (batch x length x 256). 0.66 million parameters."""

    def __init__(self, width=128, depth=3, heads=4, context=64):
        super().__init__()
        self.context = context
        self.token, self.place = nn.Embedding(TOKENS, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, TOKENS))
        for table in (self.token, self.place):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, tokens):
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return self.out(self.blocks(self.token(tokens) + self.place(places)))

    @torch.no_grad()
    def write(self, beginning, count, temperature=0.8):
        """`count` bytes that might follow this beginning, one after another (bytes; at least one to begin with)."""
        tokens = torch.tensor([list(beginning)])
        for _ in range(count):
            logits = self(tokens[:, -self.context :])[:, -1] / temperature
            tokens = torch.cat([tokens, torch.multinomial(logits.softmax(-1), 1)], dim=1)
        return bytes(tokens[0, len(beginning) :].tolist())
