//! What a token may allow here. A handler names what it needs in its signature, so a caller without it is refused before
//! anything of the request is read.

quintet_module::permissions! {
    /// Look at the queue, webhooks and delivered mail.
    Read = "jobs:read";
    /// Change the queue, webhooks and suppressed addresses; these are personal data, so reading them needs it too.
    Write = "jobs:write";
    /// Enqueue jobs of allowed kinds.
    Enqueue = "jobs:enqueue";
    /// Claim and run jobs of allowed kinds.
    Work = "jobs:work";
}
