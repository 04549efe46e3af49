# Makes a secret that is not there yet: secret NAME BYTES. Nobody else may read it, not even while it is written.
    secret() {
        if [ -e "/etc/credstore/$1" ] || [ -e "/etc/credstore.encrypted/$1" ]; then return; fi
        (umask 077 && openssl rand -hex "$2" >"/etc/credstore/.$1")
        mv "/etc/credstore/.$1" "/etc/credstore/$1"
    }
