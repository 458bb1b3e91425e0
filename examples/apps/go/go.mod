module serin.example/shop

go 1.19
