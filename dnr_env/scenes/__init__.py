"""The second embedded world: pictures of one to three objects, and a language of unions and exceptions."""
